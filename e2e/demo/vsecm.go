package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fleet-handshake/fleet-handshake/e2e/clients"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/safe"
	"github.com/fleet-handshake/fleet-handshake/e2e/lab/spire"
	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// credentials is the Secret of the story, and inSafe the secret of Safe that it is made of.
const (
	credentials = "database-credentials"
	inSafe      = "databaseCredentials"
)

// scout is what SPIRE says that the operator is: Safe gives raw secrets to a workload of that name only.
const scout = "spiffe://" + spire.DefaultTrustDomain + "/workload/" + safe.ScoutName + "/ns/fleet-handshake-system/sa/fleet-handshake/n/fleet-handshake"

// life of the SVIDs. It is short, so that they rotate while one looks on.
const life = 20 * time.Second

type vsecmStory struct {
	*story
	lab   *lab.Lab
	spire *spire.Server
	own   *spire.Source
	safe  *safe.Server
}

func beginVSecM(ctx context.Context, l *lab.Lab) (_ *demo, err error) {
	s := &vsecmStory{lab: l}
	if s.story, err = newStory(ctx, l); err != nil {
		return nil, err
	}
	fmt.Println("== Starting a SPIRE, and a Safe with its SVIDs")
	s.spire, err = spire.Start(ctx, spire.Options{Dir: filepath.Join(l.Dir, "spire"), Progress: os.Stdout})
	if err != nil {
		return nil, err
	}
	if err := s.startSafe(); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return &demo{
		values: []string{"vsecm.allow={" + workspace + "/" + inSafe + "}"},
		flags:  []string{"--vsecm-safe-url", s.safe.Address, "--vsecm-endpoint-socket", s.spire.Socket, "--vsecm-allow", workspace + "/" + inSafe},
		tell:   s.tell,
		end:    s.end,
	}, nil
}

func (s *vsecmStory) startSafe() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	id := safe.ID(spire.DefaultTrustDomain, safe.SafeName)
	if err := s.spire.Register(s.ctx, spire.Entry{ID: id, Program: self, TTL: life}); err != nil {
		return err
	}
	if s.own, err = s.spire.Source(s.ctx, id); err != nil {
		return err
	}
	s.safe, err = safe.Start(safe.Options{Source: s.own})
	return err
}

func (s *vsecmStory) end() error {
	if s.safe != nil {
		s.safe.Stop()
	}
	var err error
	if s.own != nil {
		err = s.own.Close()
	}
	return errors.Join(err, s.spire.Stop())
}

func (s *vsecmStory) tell() error {
	return tellSteps(s.table, []step{
		{"A VSecMSecret and a FleetHandshake are applied, and nobody knows the operator", s.first},
		{"SPIRE is told who the operator is", s.identify},
		{"The secret is changed in Safe, with what becomes a label and an annotation", s.change},
		{"The SPIRE agent is restarted, and the SVIDs rotate", s.restartAgent},
		{"Safe does not answer for a while", s.outage},
		{"The secret expires", s.expire},
	})
}

// version is what Safe holds: all of it changes with the number.
type version struct {
	number  int
	expires time.Time
}

func (v version) text(what string) string { return fmt.Sprintf("%s-%d", what, v.number) }

// write puts a version into Safe, beside another raw secret: Safe tells names and dates only of several.
func (s *vsecmStory) write(v version) (time.Time, error) {
	content, err := json.Marshal(map[string]any{"cocaCola": map[string]any{
		"data":        map[string]string{"username": v.text("user"), "password": v.text("password")},
		"labels":      map[string]string{"app": v.text("app")},
		"annotations": map[string]string{"env": v.text("env")},
	}})
	s.safe.Put(safe.Stored{Name: "raw:marker", Value: "x", Meta: safe.Meta{Format: "raw"}})
	s.safe.Put(safe.Stored{Name: "raw:" + inSafe, Value: string(content), Meta: safe.Meta{Format: "json"}, ExpiresAfter: v.expires})
	return time.Now(), err
}

// reaches waits until paris and tokyo have all of a version.
func (s *vsecmStory) reaches(began time.Time, v version) error {
	return s.reach(began, credentials, func(copied *corev1.Secret) error {
		if string(copied.Data["username"]) != v.text("user") || string(copied.Data["password"]) != v.text("password") {
			return errors.New("it does not have the current values")
		}
		if copied.Labels["app"] != v.text("app") || copied.Annotations["env"] != v.text("env") {
			return errors.New("it does not have the current label and annotation")
		}
		return nil
	})
}

func (s *vsecmStory) first() error {
	if _, err := s.write(version{number: 1}); err != nil {
		return err
	}
	began := time.Now()
	of := inSafe + ".cocaCola"
	_, err := s.hub.VSecM.Create(s.ctx, &v1alpha1.VSecMSecret{ObjectMeta: s.meta(credentials), Spec: v1alpha1.VSecMSecretSpec{
		RefreshInterval: &metav1.Duration{Duration: period},
		Data:            []v1alpha1.VSecMKey{{Key: "username", Ref: of + ".data.username"}, {Key: "password", Ref: of + ".data.password"}},
		Labels:          []v1alpha1.VSecMMetadata{{Key: "app", Ref: of + ".labels.app"}},
		Annotations:     []v1alpha1.VSecMMetadata{{Key: "env", Ref: of + ".annotations.env"}},
	}})
	if err != nil {
		return err
	}
	if err := s.sendOn(credentials); err != nil {
		return err
	}
	if err := s.say(v1alpha1.ConditionFetched, v1alpha1.ReasonDenied); err != nil {
		return err
	}
	fmt.Printf("   the VSecMSecret says %s=False %s: after %.1f s\n", v1alpha1.ConditionFetched, v1alpha1.ReasonDenied, time.Since(began).Seconds())
	return nil
}

func (s *vsecmStory) identify() error {
	began := time.Now()
	if err := s.spire.Register(s.ctx, spire.Entry{ID: scout, Program: programOf(s.lab), TTL: life}); err != nil {
		return err
	}
	fmt.Printf("   as %s\n", scout)
	return s.reaches(began, version{number: 1})
}

func (s *vsecmStory) change() error {
	began, err := s.write(version{number: 2})
	if err != nil {
		return err
	}
	fmt.Printf("   the operator reads Safe at 80 to 90 %% of spec.refreshInterval, which is %s here:\n", period)
	if err := s.reaches(began, version{number: 2}); err != nil {
		return err
	}
	if began, err = s.write(version{number: 3}); err != nil {
		return err
	}
	if err := s.refresh(); err != nil {
		return err
	}
	fmt.Printf("   once more, and asked for with the annotation %s:\n", v1alpha1.AnnotationRefresh)
	return s.reaches(began, version{number: 3})
}

func (s *vsecmStory) refresh() error {
	return s.hub.VSecM.Change(s.ctx, workspace, credentials, func(vs *v1alpha1.VSecMSecret) {
		vs.Annotations = map[string]string{v1alpha1.AnnotationRefresh: time.Now().Format(time.RFC3339Nano)}
	})
}

func (s *vsecmStory) restartAgent() error {
	if err := s.spire.StopAgent(); err != nil {
		return err
	}
	before, err := s.own.GetX509SVID()
	if err != nil {
		return err
	}
	began, err := s.write(version{number: 4})
	if err != nil {
		return err
	}
	fmt.Println("   changed while there is no agent:")
	if err := s.reaches(began, version{number: 4}); err != nil {
		return err
	}
	if err := s.spire.StartAgent(s.ctx); err != nil {
		return err
	}
	err = clients.Until(s.ctx, patience, func(context.Context) error {
		now, err := s.own.GetX509SVID()
		if err == nil && now.Certificates[0].SerialNumber.Cmp(before.Certificates[0].SerialNumber) == 0 {
			err = errors.New("the SVID of Safe has not rotated")
		}
		return err
	})
	if err != nil {
		return err
	}
	if began, err = s.write(version{number: 5}); err != nil {
		return err
	}
	fmt.Println("   changed again, with new SVIDs on both sides:")
	return s.reaches(began, version{number: 5})
}

func (s *vsecmStory) outage() error {
	s.safe.Break(safe.Fault{Closed: true})
	defer s.safe.Break(safe.Fault{})
	began := time.Now()
	if err := s.say(v1alpha1.ConditionFetched, v1alpha1.ReasonUnavailable); err != nil {
		return err
	}
	fmt.Printf("   the VSecMSecret says %s=False %s: after %.1f s; the Secret stays as it is\n", v1alpha1.ConditionFetched, v1alpha1.ReasonUnavailable, time.Since(began).Seconds())
	if err := s.say(v1alpha1.ConditionReady, v1alpha1.ReasonStale); err != nil {
		return err
	}
	vs, err := s.hub.VSecM.Get(s.ctx, workspace, credentials)
	if err != nil {
		return err
	}
	fmt.Printf("   it says Ready=False %s, because what the Secret holds is %s old\n", v1alpha1.ReasonStale, time.Since(vs.Status.LastFetchedAt.Time).Round(time.Second))
	if err := s.reaches(began, version{number: 5}); err != nil {
		return err
	}
	s.safe.Break(safe.Fault{})
	back := time.Now()
	if err := s.say(v1alpha1.ConditionReady, v1alpha1.ReasonUpToDate); err != nil {
		return err
	}
	fmt.Printf("   Safe answers again, and it is Ready: after %.1f s\n", time.Since(back).Seconds())
	return nil
}

func (s *vsecmStory) expire() error {
	last := version{number: 6, expires: time.Now().Add(15 * time.Second).Truncate(time.Second)}
	began, err := s.write(last)
	if err != nil {
		return err
	}
	if err := s.refresh(); err != nil {
		return err
	}
	if err := s.reaches(began, last); err != nil {
		return err
	}
	s.safe.Break(safe.Fault{Closed: true})
	defer s.safe.Break(safe.Fault{})
	fmt.Printf("   its expiresAfter is %s; Safe itself does nothing about that, and does not answer just now:\n", last.expires.UTC().Format(time.RFC3339))
	err = s.reach(last.expires, credentials, func(copied *corev1.Secret) error {
		if len(copied.Data) > 0 || copied.Labels["app"] != "" {
			return errors.New("it still has values")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if time.Now().Before(last.expires) {
		return errors.New("the values were withdrawn too early")
	}
	fmt.Println("   the values are withdrawn")
	return nil
}

func (s *vsecmStory) say(condition, reason string) error {
	return says(s.ctx, s.hub.VSecM, credentials, condition, reason)
}

// table prints what the VSecMSecret says.
func (s *vsecmStory) table() error {
	vs, err := s.hub.VSecM.Get(s.ctx, workspace, credentials)
	if err != nil {
		return err
	}
	printReady(map[string]v1alpha1.SourceStatus{"VSecMSecret/" + credentials: vs.Status})
	return nil
}
