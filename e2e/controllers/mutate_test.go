package controllers

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	fleet "github.com/rancher/fleet/pkg/apis/fleet.cattle.io/v1alpha1"
)

const (
	// secretMarker is in every value of every Secret of the storm, and fleetMarker in what Fleet says in words.
	secretMarker = "cAnArY0fSecretBytesThatStayIn"
	fleetMarker  = "cAnArY1nTheWordsOfFleetItself"
	// Namespaces of the storm. From stormGranting Secrets may travel, from stormClosed none may. In stormForeign the
	// operator may not write.
	stormWorkspace, stormGranting, stormClosed, stormForeign = "storm", "storm-granting", "storm-closed", "storm-foreign"
	// stormAgents has the BundleDeployments.
	stormAgents   = "storm-agents"
	stormClusters = 12
)

type fields = map[string]any

// mutator makes objects as nobody should write them. The same seed and number make the same object.
type mutator struct {
	*rand.Rand
	// reckless objects have fields that the API server should refuse.
	reckless bool
	// uid is one of a real FleetHandshake, to forge references with.
	uid string
}

func newMutator(seed uint64, number int) mutator {
	m := mutator{Rand: rand.New(rand.NewPCG(seed, uint64(number)))}
	m.reckless = m.chance(10)
	m.uid = fmt.Sprintf("%08x-0000-4000-8000-%012x", m.Uint32(), m.Uint32())
	return m
}

// chance is true in so many of 100 cases.
func (m mutator) chance(percent int) bool { return m.IntN(100) < percent }

func (m mutator) pick(of ...any) any { return of[m.IntN(len(of))] }

func (m mutator) word(of ...string) string { return of[m.IntN(len(of))] }

// odd is one of the usual values, and sometimes one that is allowed and nobody expects. In a reckless object it may also
// be one that is not allowed.
func (m mutator) odd(usual, allowed, refused []any) any {
	switch {
	case m.reckless && len(refused) > 0 && m.chance(40):
		return m.pick(refused...)
	case len(allowed) > 0 && m.chance(15):
		return m.pick(allowed...)
	}
	return m.pick(usual...)
}

func (m mutator) sometimes(into fields, percent int, field string, value func() any) {
	if m.chance(percent) {
		into[field] = value()
	}
}

var pieces = []string{
	`{{ fail "evaluated" }}`, "{{ .Values | toJson }}", "{{- range $ }}", "{{/*", "{{ tpl .Values.a . }}", "${ .ClusterName }", "${", "$(HOME)",
	"global.fleet.clusterLabels.env", "global.fleet.clusterLabels.", "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: injected\n", "---", "\n", "\r\n", "\t",
	"\x00", "\x1b[31m", "\x7f", "\u0085", "\u2028", "\u202e", "\ufeff", "\ufffe", "\U0001f600", "ümläut", `{"a":[1,{"b":null}],"secrets":[]}`, "yes", "null", "~", "0x10", "1e9", "*a", "&a", "!!binary",
	"'", `"`, `\`, "%s%d%!", "../../etc/passwd", "<&>", "# no", ": ", "- ", " ", "a", "deliver", "values.yaml",
}

// text is anything that JSON can carry.
func (m mutator) text() string {
	var out strings.Builder
	for range 1 + m.IntN(4) {
		out.WriteString(m.word(pieces...))
	}
	if m.chance(2) {
		return strings.Repeat(out.String(), 1+m.IntN(50000)/out.Len())
	}
	return out.String()
}

func (m mutator) label() any {
	return m.odd([]any{"shop", "a", "production"}, []any{"", "true", "null", "1e9", "a..b__c--d", strings.Repeat("v", 63), "global.fleet.clusterLabels.env"}, []any{m.text(), strings.Repeat("v", 64), 7, true})
}

func (m mutator) labelKey() string {
	if m.reckless && m.chance(20) {
		return m.text()
	}
	return m.word("app", "env", "region", "example.com/team", "app.kubernetes.io/managed-by", "helm.sh/chart", "a", "true", "0", strings.Repeat("k", 63), strings.Repeat("d", 253)+"/"+strings.Repeat("k", 63),
		v1alpha1.LabelHandshake, v1alpha1.LabelName, v1alpha1.LabelWorkspace, "objectset.rio.cattle.io/hash", fleet.BundleLabel)
}

func (m mutator) annotationKey() string {
	if m.chance(30) {
		return m.word(v1alpha1.AnnotationDelivery, v1alpha1.AnnotationForceDelete, v1alpha1.AnnotationConfirmWithdrawal, v1alpha1.AnnotationResyncRequestedAt, v1alpha1.NeverSend)
	}
	if m.chance(30) {
		return m.word("helm.sh/hook", "helm.sh/resource-policy", "meta.helm.sh/release-name", "objectset.rio.cattle.io/id", "field.cattle.io/creatorId", "kubectl.kubernetes.io/last-applied-configuration")
	}
	return m.labelKey()
}

// metadata of an object with a name. Secrets have the mark in their annotations too.
func (m mutator) metadata(namespace, name, mark string) fields {
	labels, annotations := fields{}, fields{}
	for range m.IntN(4) {
		labels[m.labelKey()] = m.label()
	}
	for range m.IntN(4) {
		switch key := m.annotationKey(); key {
		case v1alpha1.NeverSend, v1alpha1.AnnotationForceDelete:
			annotations[key] = m.word("true", "false", mark+m.text())
		case v1alpha1.AnnotationResyncRequestedAt:
			annotations[key] = m.word("now", time.Now().Format(time.RFC3339Nano), m.text())
		default:
			annotations[key] = mark + m.text()
		}
	}
	m.sometimes(labels, 2, v1alpha1.NeverSend, func() any { return "true" })
	m.sometimes(labels, 3, v1alpha1.LabelHandshake, func() any { return m.uid })
	meta := fields{"namespace": namespace, "name": name, "labels": labels, "annotations": annotations}
	m.sometimes(meta, 4, "ownerReferences", func() any {
		return []any{fields{
			"apiVersion": "fleethandshake.io/v1alpha1", "kind": m.word("FleetHandshake", "Bundle"), "name": stormName("h", m.IntN(20)), "uid": m.uid,
			"controller": m.chance(50), "blockOwnerDeletion": m.chance(50),
		}}
	})
	m.sometimes(meta, 4, "finalizers", func() any {
		forged := v1alpha1.Finalizer
		if namespace == stormForeign {
			// The operator may not take ours away there.
			forged = "example.com/storm"
		}
		return m.pick([]any{"example.com/storm"}, []any{}, []any{"orphan"}, []any{forged}, []any{m.text()})
	})
	m.sometimes(meta, 1, "annotations", func() any { return fields{"example.com/large": strings.Repeat(m.text(), 1+m.IntN(2000))} })
	return meta
}

func (m mutator) duration(refused ...any) func() any {
	return func() any {
		return m.odd([]any{"1h", "10m", "0s"}, []any{"5m", "1h30m", "300000ms", "0.5h", "100000h", "2562047h"}, refused)
	}
}

func (m mutator) intOrString() any {
	return m.odd([]any{1, "25%", "100%"}, []any{0, 1000000, "0%", "50.5%", "half", "101%", "-5%", "", m.text()}, []any{-1, int64(3000000000), 1.5, true, []any{}})
}

func (m mutator) selector() any {
	s := fields{}
	m.sometimes(s, 40, "matchLabels", func() any {
		key := m.labelKey()
		if m.chance(10) {
			key = m.text()
		}
		return fields{key: m.odd([]any{"a", "b", "production"}, []any{"", m.text()}, []any{1})}
	})
	m.sometimes(s, 40, "matchExpressions", func() any {
		var all []any
		for range 1 + m.IntN(3) {
			e := fields{
				"key":      m.odd([]any{"env", "app"}, []any{"", m.text(), strings.Repeat("k", 400)}, []any{5}),
				"operator": m.odd([]any{"In", "NotIn", "Exists", "DoesNotExist"}, []any{"Equals", "", "in", m.text()}, []any{nil, 1}),
			}
			m.sometimes(e, 50, "values", func() any { return []any{m.label(), "a", "b"} })
			all = append(all, e)
		}
		return all
	})
	return s
}

func (m mutator) target() any {
	t := fields{}
	m.sometimes(t, 10, "name", func() any {
		return m.odd([]any{"production"}, []any{strings.Repeat("n", 63), "deliver"}, []any{"values.yaml", m.text(), 1})
	})
	m.sometimes(t, 15, "doNotDeploy", func() any { return m.odd([]any{true, false}, nil, []any{"yes"}) })
	m.sometimes(t, 15, "clusterGroup", func() any { return m.odd([]any{"some", "all"}, []any{strings.Repeat("g", 253)}, []any{"A b", ""}) })
	m.sometimes(t, 8, "clusterGroupSelector", m.selector)
	m.sometimes(t, 35, "clusterSelector", m.selector)
	if len(t) == 0 || m.chance(20) {
		t["clusterName"] = m.odd([]any{stormName("c", m.IntN(stormClusters)), "Paris One"}, []any{strings.Repeat("c", 253), m.text()}, []any{"", 3})
	}
	if m.reckless && m.chance(10) {
		return fields{}
	}
	return t
}

func (m mutator) targets() any {
	count := 1 + m.IntN(3)
	if m.chance(1) {
		count = 100
	}
	if m.reckless && m.chance(15) {
		count = m.IntN(2) * 101
	}
	all := make([]any, count)
	for i := range all {
		all[i] = m.target()
	}
	if count > 0 && m.chance(30) {
		all[0] = fields{"clusterSelector": fields{}}
	}
	return all
}

func (m mutator) rollout() any {
	r := fields{}
	m.sometimes(r, 40, "maxUnavailable", m.intOrString)
	m.sometimes(r, 20, "maxUnavailablePartitions", m.intOrString)
	m.sometimes(r, 20, "autoPartitionSize", m.intOrString)
	m.sometimes(r, 20, "autoPartitionThreshold", func() any { return m.odd([]any{0, 1, 200}, []any{1000000}, []any{-1, "1"}) })
	m.sometimes(r, 20, "maxNew", func() any { return m.odd([]any{1, 50}, []any{1000000}, []any{0, -1, "1"}) })
	m.sometimes(r, 30, "partitions", func() any {
		var all []any
		for range 1 + m.IntN(3) {
			p, _ := m.target().(fields)
			delete(p, "doNotDeploy")
			m.sometimes(p, 40, "maxUnavailable", m.intOrString)
			all = append(all, p)
		}
		return all
	})
	return r
}

func (m mutator) handshake(namespace, name string) fields {
	spec := fields{
		"secretName": m.odd([]any{stormName("s", m.IntN(40))}, []any{"missing", stormName("s", 7), strings.Repeat("s", 253)}, []any{"My_Secret", "", nil, m.text(), strings.Repeat("s", 254), 5}),
		"targets":    m.targets(),
	}
	m.sometimes(spec, 35, "secretNamespace", func() any {
		return m.odd([]any{stormGranting, stormGranting, stormWorkspace, stormClosed}, []any{"kube-system", "nowhere", stormForeign, strings.Repeat("n", 63)}, []any{"a.b", m.text(), "cattle-system"})
	})
	m.sometimes(spec, 70, "targetNamespace", func() any {
		return m.odd([]any{"apps"}, []any{"apps-2", "kube-system", strings.Repeat("t", 63)}, []any{"Apps", "cattle-fleet-system", m.text()})
	})
	m.sometimes(spec, 10, "paused", func() any { return m.odd([]any{true}, nil, []any{"yes"}) })
	m.sometimes(spec, 30, "resyncInterval", m.duration("1m", "-5m", "hourly", 3600, "9999999999h"))
	m.sometimes(spec, 20, "correctDrift", func() any { return m.odd([]any{true, false}, []any{nil}, []any{"no"}) })
	m.sometimes(spec, 20, "conflictPolicy", func() any { return m.odd([]any{"Fail", "Adopt"}, nil, []any{"Orphan", ""}) })
	m.sometimes(spec, 40, "replacePolicy", func() any { return m.odd([]any{"Never", "Recreate"}, nil, []any{"Always"}) })
	m.sometimes(spec, 30, "deletionPolicy", func() any { return m.odd([]any{"Delete", "Retain"}, nil, []any{"Orphan"}) })
	m.sometimes(spec, 30, "missingSourcePolicy", func() any { return m.odd([]any{"Keep", "Remove"}, nil, []any{"keep"}) })
	m.sometimes(spec, 30, "removalTimeout", m.duration("soon", "-1s", 10, "9999999999h"))
	m.sometimes(spec, 20, "rolloutStrategy", m.rollout)
	return fields{"apiVersion": "fleethandshake.io/v1alpha1", "kind": "FleetHandshake", "metadata": m.metadata(namespace, name, ""), "spec": spec}
}

func (m mutator) grant(namespace, name string) fields {
	from := fields{"namespace": m.odd([]any{stormWorkspace}, []any{stormForeign, "nowhere"}, []any{"*", "", m.text()})}
	m.sometimes(from, 20, "handshakes", func() any { return []any{stormName("h", m.IntN(20)), stormName("h", 20+m.IntN(20))} })
	to := fields{"kind": m.odd([]any{"Secret", "Secret", "ConfigMap"}, nil, []any{"secret", "Pod"})}
	m.sometimes(to, 40, "names", func() any {
		return []any{stormName("s", m.IntN(10)), m.odd([]any{stormName("s", 10+m.IntN(10))}, nil, []any{"*", m.text()})}
	})
	spec := fields{"from": []any{from}, "to": []any{to}}
	m.sometimes(spec, 30, "clusters", m.targets)
	m.sometimes(spec, 30, "keys", func() any {
		return m.odd([]any{[]any{"password"}, []any{"password", "tls.crt", "tls.key"}}, []any{[]any{m.text()}, []any{strings.Repeat("k", 253)}}, []any{[]any{"a", "a"}, []any{""}, "a"})
	})
	m.sometimes(spec, 30, "expiresAt", func() any {
		return m.odd([]any{time.Now().Add(time.Hour).Format(time.RFC3339)}, []any{time.Now().Add(time.Duration(m.IntN(60)) * time.Second).Format(time.RFC3339), "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", nil}, []any{"tomorrow", 5})
	})
	return fields{"apiVersion": "fleethandshake.io/v1alpha1", "kind": "SecretGrant", "metadata": m.metadata(namespace, name, ""), "spec": spec}
}

// payload is the base64 of data with the mark in it, or of nothing.
func (m mutator) payload() any {
	var data []byte
	switch n := m.IntN(100); {
	case n < 4:
		return m.word("", "")
	case n < 6:
		return nil
	case n == 6:
		data = []byte(strings.Repeat(secretMarker+m.text(), 1+m.IntN(8000)))
	case n < 20:
		data = append([]byte{0, 255, byte(m.IntN(256))}, secretMarker...)
	default:
		data = []byte(secretMarker + m.text() + secretMarker)
	}
	if m.reckless && m.chance(5) {
		return string(data)
	}
	return base64.StdEncoding.EncodeToString(data)
}

// usualTypes are those of Secrets that are mostly sent. An update cannot change the type.
var usualTypes = []any{"Opaque", "kubernetes.io/tls", "example.com/custom", "kubernetes.io/dockerconfigjson", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth"}

func (m mutator) secret(namespace, name string) fields {
	secretType := usualTypes[len(name)%len(usualTypes)]
	if m.chance(20) {
		secretType = m.odd(usualTypes,
			[]any{"helm.sh/release.v1", "fleet.cattle.io/bundle-values/v1alpha1", "bootstrap.kubernetes.io/token", "global.fleet.clusterLabels.env", m.text()},
			[]any{"kubernetes.io/dockercfg", "kubernetes.io/service-account-token", 5})
	}
	data := fields{}
	for range m.IntN(4) {
		key := m.odd([]any{"password", "username"}, []any{".a_b-c", strings.Repeat("k", 253), "true", "0"}, []any{"a/b", "", "..", m.text()})
		data[key.(string)] = m.payload()
	}
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	needs := map[any]fields{
		"kubernetes.io/tls":              {"tls.crt": encoded(secretMarker), "tls.key": encoded("key " + secretMarker)},
		"kubernetes.io/dockerconfigjson": {".dockerconfigjson": encoded(`{"auths":{"example.com":{"password":"` + secretMarker + `"}}}`)},
		"kubernetes.io/basic-auth":       {"password": encoded(secretMarker)},
		"kubernetes.io/ssh-auth":         {"ssh-privatekey": encoded(secretMarker)},
	}
	if !m.reckless {
		for key, value := range needs[secretType] {
			data[key] = value
		}
	}
	s := fields{"apiVersion": "v1", "kind": "Secret", "metadata": m.metadata(namespace, name, secretMarker), "type": secretType, "data": data}
	if m.chance(4) && needs[secretType] == nil {
		s["data"] = nil
	}
	m.sometimes(s, 5, "stringData", func() any { return fields{"password": secretMarker + m.text()} })
	m.sometimes(s, 8, "immutable", func() any { return m.odd([]any{true}, []any{nil, false}, []any{"yes"}) })
	if m.reckless && m.chance(5) {
		data["password"] = encoded(strings.Repeat(secretMarker, 1<<20/len(secretMarker)+1))
	}
	return s
}

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func (m mutator) delivery() string {
	return m.word(
		m.text(), "", "null", "[]", "{}", `{"revisions":null}`, `{"last":9223372036854775807}`, `{"last":-9223372036854775808}`, `{"last":1e400}`,
		`{"revisions":[{"from":0,"revision":"forged","at":"2026-01-02T03:04:05.000000Z"}],"last":3,"assertedAt":"9999-12-31T23:59:59Z","unscrubbed":true,"retries":-5,"keptFrom":7}`,
		`{"revisions":[{"from":1,"revision":"`+strings.Repeat("r", 1+m.IntN(200))+`","at":"2026-01-02T03:04:05.000000Z"}],"last":1,"guard":{"clusters":-1,"taken":1000000,"waiting":true},"withdrawals":[{"number":1}]}`,
		`{"revisions":[`+strings.Repeat(`{"from":1},`, 500)+`{"from":2}],"retries":2147483648,"retriedAt":"9999-12-31T23:59:59-14:00"}`,
		`{"resyncRequest":"`+strings.Repeat("r", m.IntN(3000))+`"}`,
	)
}

// bundle is what somebody does to a Bundle of ours.
func (m mutator) bundle() []operation {
	switch m.IntN(12) {
	case 0, 1, 2, 3:
		return []operation{{"add", "/metadata/annotations", fields{v1alpha1.AnnotationDelivery: m.delivery()}}}
	case 4:
		return []operation{{"add", "/metadata/labels", m.pick(fields{}, fields{v1alpha1.LabelHandshake: m.uid}, fields{v1alpha1.LabelHandshake: ""})}}
	case 5:
		return []operation{{"add", "/spec/targets", []any{fields{"clusterSelector": fields{}}, fields{"clusterName": stormName("c", m.IntN(20)), "name": m.word("deliver", "withdraw", m.text()), "forceSyncGeneration": m.Int64()}}}}
	case 6:
		return []operation{{"add", "/spec/forceSyncGeneration", m.pick(-1, 0, m.Int64(), 1<<40)}}
	case 7:
		return []operation{{"add", "/spec/valuesHash", m.text()}, {"add", "/spec/paused", m.chance(50)}}
	case 8:
		return []operation{{"add", "/spec/resources", []any{fields{"name": "templates/all.yaml", "content": "{{ .Values | toJson }}"}}}}
	case 9:
		return []operation{{"add", "/spec/helm", m.pick(fields{}, fields{"releaseName": "forged", "values": fields{"a": m.text()}})}}
	case 10:
		return []operation{{"add", "/spec", fields{"defaultNamespace": m.word("", "elsewhere", m.text())}}}
	}
	return []operation{{"add", "/metadata/finalizers", m.pick([]any{}, []any{"example.com/storm"})}, {"add", "/metadata/ownerReferences", []any{}}}
}

// values is what somebody does to a values Secret of ours.
func (m mutator) values() []operation {
	garbage := func() any { return base64.StdEncoding.EncodeToString([]byte(secretMarker + m.text())) }
	forged, _ := json.Marshal(fields{"secrets": []any{fields{"name": m.text(), "type": m.text(), "data": fields{"password": garbage()}}}})
	switch m.IntN(7) {
	case 0:
		return []operation{{"add", "/data", fields{"values.yaml": garbage(), "deliver": garbage()}}}
	case 1:
		return []operation{{"add", "/data", fields{"values.yaml": base64.StdEncoding.EncodeToString([]byte(`{"nonce":"n"}`)), "deliver": base64.StdEncoding.EncodeToString(forged)}}}
	case 2:
		return []operation{{"add", "/data", m.pick(nil, fields{}, fields{"a": nil})}}
	case 3:
		return []operation{{"add", "/metadata/labels", fields{}}}
	case 4:
		return []operation{{"add", "/immutable", true}}
	case 5:
		return []operation{{"add", "/data/deliver", base64.StdEncoding.EncodeToString([]byte(strings.Repeat(secretMarker, m.IntN(10000))))}}
	}
	return []operation{{"add", "/metadata/ownerReferences", []any{}}}
}

// answer is the status of a BundleDeployment: anything that Fleet may say, in words that hold what it could not apply.
func (m mutator) answer() fields {
	words := m.word("cannot be imported into the current release: ", "field is immutable when `immutable` is set ", "Secret is invalid: type: Invalid value: ", "") + fleetMarker + m.text()
	status := fields{
		"appliedDeploymentID": m.word("applied", "another"), "ready": m.chance(60), "nonModified": m.chance(60), "syncGeneration": m.pick(nil, 0, 1, 2, 5, m.Int64()),
		"conditions": []any{
			fields{"type": m.word("Installed", "Deployed", "Ready"), "status": m.word("True", "False", "False"), "reason": "Error", "message": words},
			fields{"type": "Monitored", "status": "True", "message": words},
		},
		"display": fields{"state": words},
	}
	m.sometimes(status, 40, "modifiedStatus", func() any {
		return []any{fields{"kind": "Secret", "apiVersion": "v1", "namespace": "apps", "name": "x", "missing": m.chance(30), "exist": m.chance(30), "patch": `{"data":{"password":"` + fleetMarker + `"}}`}}
	})
	return status
}

// stormName is the name of one of a kind; some are as long as a name can be.
func stormName(kind string, number int) string {
	name := fmt.Sprintf("%s-%d", kind, number)
	switch number % 10 {
	case 7:
		return name + strings.Repeat("x", 253-len(name))
	case 8:
		return name + strings.Repeat(".a-b", 8)
	}
	return name
}
