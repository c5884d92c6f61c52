package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/fleet-handshake/fleet-handshake/pkg/upstream"
	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// stepError says what the operator was doing when the API server answered with an error.
type stepError struct {
	doing string
	err   error
}

func (e *stepError) Error() string { return e.doing + ": " + e.err.Error() }

func (e *stepError) Unwrap() error { return e.err }

func doing(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &stepError{fmt.Sprintf(format, args...), err}
}

// step is what was being done, without the words of the API server.
func step(err error) string {
	var s *stepError
	if errors.As(err, &s) {
		return s.doing
	}
	return "unknown"
}

// ProblemOf says of an error of a secret manager what can be done about it; nil of other errors. What heals only elsewhere
// is tried again after retry.
func ProblemOf(err error, retry time.Duration) *Problem {
	var answer *upstream.Error
	if !errors.As(err, &answer) {
		return nil
	}
	p := &Problem{Message: err.Error(), Retry: retry}
	switch answer.Kind {
	case upstream.Unavailable:
		p.Reason, p.Heals = v1alpha1.ReasonUnavailable, true
	case upstream.Denied:
		p.Reason = v1alpha1.ReasonDenied
	case upstream.Missing:
		p.Reason = v1alpha1.ReasonPathMissing
	default:
		p.Reason = v1alpha1.ReasonRefused
	}
	return p
}

// problemOf is what to say of an error of a Fetcher.
func (c *Controller) problemOf(k key, err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	logrus.WithField("source", k.String()).Error("fetching has failed: " + step(err))
	return &Problem{Reason: v1alpha1.ReasonUnavailable, Message: "the API server does not answer; look into the operator's log", Heals: true}
}

// forbidden reports an error of the API server that a retry alone does not mend; others it gives back.
func (c *Controller) forbidden(ctx context.Context, k key, src v1alpha1.Source, err error) (time.Duration, error) {
	problem := c.refusal(k, err)
	if problem == nil {
		return 0, err
	}
	return c.report(ctx, k, src, outcome{problem: problem})
}

// refusal is what to say of an error of the API server that a retry alone does not mend; nil of others.
func (c *Controller) refusal(k key, err error) *Problem {
	switch {
	case apierrors.IsForbidden(err):
		return &Problem{Reason: v1alpha1.ReasonNotAllowed, Message: fmt.Sprintf("the API server does not allow %s: bind the operator to ClusterRole fleet-handshake-sources in namespace %s (values vault.namespaces and vsecm.allow of the chart), or look for a quota or an admission policy", step(err), k.namespace)}
	case apierrors.IsInvalid(err):
		return &Problem{Reason: v1alpha1.ReasonWriteFailed, Message: fmt.Sprintf("the API server refuses %s because of %s: correct the spec; an immutable Secret has to be deleted", step(err), fieldsOf(err))}
	}
	return nil
}

// fieldsOf names the fields that the API server refuses, without what they hold.
func fieldsOf(err error) string {
	var answer apierrors.APIStatus
	var names []string
	if errors.As(err, &answer) && answer.Status().Details != nil {
		for _, cause := range answer.Status().Details.Causes {
			names = append(names, cause.Field)
		}
	}
	if len(names) == 0 {
		return "its content"
	}
	return list(names)
}
