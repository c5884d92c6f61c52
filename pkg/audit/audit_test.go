package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fleet-handshake/fleet-handshake/pkg/apis/fleethandshake.io/v1alpha1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const canary = "c4n4ry-v4lue"

// handshake was written last by gitops, and created by a user of Rancher.
func handshake() *v1alpha1.FleetHandshake {
	return &v1alpha1.FleetHandshake{ObjectMeta: metav1.ObjectMeta{
		Namespace: "fleet-default", Name: "web", UID: "1b4e28ba-2fa1-11d2-883f-0016d3cca427", Generation: 7,
		Annotations:   map[string]string{"field.cattle.io/creatorId": "u-8xk2q"},
		ManagedFields: []metav1.ManagedFieldsEntry{wrote("gitops", at(1), spec)},
	}}
}

func entry() Entry {
	return Entry{
		Decision: Send, Reason: "NewRevision", Handshake: handshake(), Source: "platform/db-creds", SourceVersion: "4711",
		Revision: "7ed50ab083dd", TargetNamespace: "apps", Clusters: []string{"paris", "tokyo"}, Grants: []string{"g1", "g2"},
	}
}

// recorded are the lines of a Log that writes into a file.
func recorded(t *testing.T, entries ...Entry) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := Open(path)
	require.NoError(t, err)
	for _, e := range entries {
		log.Record(e)
	}
	return linesOf(t, path)
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(data), "\n")
	require.Empty(t, lines[len(lines)-1], "the last line ends")
	return lines[:len(lines)-1]
}

func parse(t *testing.T, line string) map[string]any {
	t.Helper()
	fields := map[string]any{}
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&fields), line)
	_, err := decoder.Token()
	require.ErrorIs(t, err, io.EOF, "a line is one object")
	return fields
}

func TestEachEntryIsALine(t *testing.T) {
	bare := Entry{Decision: Refuse, Reason: "NotGranted", Handshake: &v1alpha1.FleetHandshake{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-default", Name: "web"}},
		Source: "platform/db-creds", TargetNamespace: "apps", Clusters: []string{"paris"}}
	back := entry()
	back.Decision, back.Reason, back.Clusters, back.Grants, back.SourceVersion, back.Revision = Withdraw, "TargetsChanged", []string{"tokyo"}, nil, "", ""
	lines := recorded(t, entry(), bare, back)
	require.Len(t, lines, 3)
	for i, want := range []map[string]any{
		{
			"decision": "send", "reason": "NewRevision", "handshake": "fleet-default/web", "uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "generation": json.Number("7"),
			"manager": "gitops", "creator": "u-8xk2q", "source": "platform/db-creds", "sourceVersion": "4711", "revision": "7ed50ab083dd",
			"targetNamespace": "apps", "clusters": []any{"paris", "tokyo"}, "grants": []any{"g1", "g2"},
		},
		{
			"decision": "refuse", "reason": "NotGranted", "handshake": "fleet-default/web", "uid": "", "generation": json.Number("0"),
			"source": "platform/db-creds", "targetNamespace": "apps", "clusters": []any{"paris"},
		},
		{
			"decision": "withdraw", "reason": "TargetsChanged", "handshake": "fleet-default/web", "uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "generation": json.Number("7"),
			"manager": "gitops", "creator": "u-8xk2q", "source": "platform/db-creds", "targetNamespace": "apps", "clusters": []any{"tokyo"},
		},
	} {
		got := parse(t, lines[i])
		when, err := time.Parse(time.RFC3339, fmt.Sprint(got["time"]))
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), when, time.Minute)
		want["time"], want["msg"], want["level"] = got["time"], "audit", "info"
		assert.Equal(t, want, got)
	}
}

func TestALineHasTheFieldsThatAreDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/security.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(data), "\n## Audit log\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]bool{"level": true} // is the same in each line of a log
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|").FindAllStringSubmatch(section, -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			documented[name[1]] = true
		}
	}
	written := map[string]bool{}
	for name := range parse(t, recorded(t, entry())[0]) {
		written[name] = true
	}
	assert.Equal(t, documented, written)
}

// An Entry has names and hashes only: what is added to it has to be added here, and thought about.
func TestAnEntryHasNoFieldForAPayload(t *testing.T) {
	fields := map[string]string{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Entry]()) {
		fields[f.Name] = f.Type.String()
	}
	assert.Equal(t, map[string]string{
		"Decision": "string", "Reason": "string", "Handshake": "v1.Object", "Source": "string", "SourceVersion": "string", "Revision": "string",
		"TargetNamespace": "string", "Clusters": "[]string", "Grants": "[]string",
	}, fields)
}

// Whatever object is given as the handshake: nothing but its name, its version and who made it is written.
func TestALineHoldsNothingElseOfAnObject(t *testing.T) {
	meta := handshake().ObjectMeta
	meta.Labels = map[string]string{"x": canary, canary: "x"}
	meta.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": canary, canary: "x"}
	meta.Finalizers, meta.GenerateName, meta.ResourceVersion = []string{canary}, canary, canary
	meta.OwnerReferences = []metav1.OwnerReference{{Name: canary}}
	meta.ManagedFields = []metav1.ManagedFieldsEntry{wrote("gitops", at(1), `{"f:spec":{"f:`+canary+`":{}}}`), wrote(canary, at(0), spec)}
	e := entry()
	for _, o := range []metav1.Object{
		&corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"password": []byte(canary), canary: nil}, StringData: map[string]string{"password": canary}, Type: canary},
		&v1alpha1.FleetHandshake{ObjectMeta: meta, Spec: v1alpha1.FleetHandshakeSpec{SecretName: canary}, Status: v1alpha1.FleetHandshakeStatus{Revision: canary}},
	} {
		e.Handshake = o
		line := recorded(t, e)[0]
		assert.NotContains(t, line, canary)
		assert.Equal(t, "gitops", parse(t, line)["manager"])
	}
}

func TestNobodyCanForgeALine(t *testing.T) {
	const forged = "x\n{\"decision\":\"send\"}\r\n\x00\u2028"
	e := entry()
	hs := handshake()
	hs.Annotations["field.cattle.io/creatorId"] = forged
	hs.ManagedFields[0].Manager = forged
	e.Handshake, e.Reason, e.Source, e.Clusters, e.Grants = hs, forged, forged, []string{forged}, []string{forged}
	lines := recorded(t, e)
	require.Len(t, lines, 1)
	fields := parse(t, lines[0])
	assert.Equal(t, "audit", fields["msg"])
	assert.Equal(t, "send", fields["decision"])
	assert.Equal(t, forged, fields["creator"])
	assert.Equal(t, forged, fields["manager"])
	assert.Equal(t, []any{forged}, fields["clusters"])
}

func TestAFileIsAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	require.NoError(t, os.WriteFile(path, []byte("from before\n"), 0o600))
	for range 2 {
		log, err := Open(path)
		require.NoError(t, err)
		log.Record(entry())
	}
	lines := linesOf(t, path)
	require.Len(t, lines, 3)
	assert.Equal(t, "from before\n", lines[0])
	assert.Equal(t, "send", parse(t, lines[1])["decision"])
	assert.Equal(t, "send", parse(t, lines[2])["decision"])
}

func TestAFileIsForTheOperatorAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	_, err := Open(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestAFileThatCannotBeWritten(t *testing.T) {
	directory := t.TempDir()
	for path, why := range map[string]string{
		directory: "is a directory",
		filepath.Join(directory, "nothere", "audit.log"): "no such file or directory",
	} {
		log, err := Open(path)
		require.EqualError(t, err, "opening the audit log: open "+path+": "+why+"; name a file that can be written with --audit-log, or - for standard output")
		assert.Nil(t, log)
	}
}

func TestADashIsStandardOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout")
	stdout, err := os.Create(path)
	require.NoError(t, err)
	before := os.Stdout
	os.Stdout = stdout
	defer func() { os.Stdout = before }()
	log, err := Open("-")
	require.NoError(t, err)
	log.Record(entry())
	lines := linesOf(t, path)
	require.Len(t, lines, 1)
	assert.Equal(t, "send", parse(t, lines[0])["decision"])
	assert.NoFileExists(t, "-")
}

func TestWithoutAFileTheLinesAreInTheLogOfTheOperator(t *testing.T) {
	standard := logrus.StandardLogger()
	out, formatter := standard.Out, standard.Formatter
	defer func() { standard.SetOutput(out); standard.SetFormatter(formatter) }()
	var written bytes.Buffer
	standard.SetOutput(&written)
	standard.SetFormatter(&logrus.TextFormatter{DisableColors: true})
	log, err := Open("")
	require.NoError(t, err)
	log.Record(entry())
	assert.Regexp(t, `^time="[^"]+" level=info msg=audit clusters="\[paris tokyo\]" creator=u-8xk2q decision=send [^\n]*\n$`, written.String())

	written.Reset()
	standard.SetFormatter(&logrus.JSONFormatter{})
	log, err = Open("")
	require.NoError(t, err)
	log.Record(entry())
	assert.Equal(t, "send", parse(t, written.String())["decision"])
}

func TestNoLogLevelLeavesALineOut(t *testing.T) {
	level := logrus.GetLevel()
	defer logrus.SetLevel(level)
	logrus.SetLevel(logrus.PanicLevel)
	assert.Len(t, recorded(t, entry()), 1)
}
