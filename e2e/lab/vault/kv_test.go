package vault_test

import (
	"encoding/json"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/vault"
	"github.com/fleet-handshake/fleet-handshake/pkg/vaultkv/golden"
)

// apiPath is where the API has a secret, or the list of a folder.
func apiPath(name, kind string) string {
	mount, rest, _ := strings.Cut(name, "/")
	if mount == golden.KV2 {
		return mount + "/" + kind + "/" + rest
	}
	return name
}

func TestGoldenSecretsCanBeReadAndListed(t *testing.T) {
	ctx := enabled(t)
	s := start(ctx, t, vault.Options{TLS: true, Audit: true})
	if err := s.Golden(ctx); err != nil {
		t.Fatal(err)
	}
	reader := loggedIn(ctx, t, s, vault.ReadKV)

	for mount, version := range map[string]string{golden.KV1: "1", golden.KV2: "2"} {
		answer, err := reader.Logical().ReadWithContext(ctx, "sys/internal/ui/mounts/"+mount+"/anything")
		if err != nil {
			t.Fatal(err)
		}
		options, _ := answer.Data["options"].(map[string]any)
		if options["version"] != version || answer.Data["path"] != mount+"/" {
			t.Errorf("of %s, Vault says that it is %v with the options %v, want version %s", mount, answer.Data["path"], options, version)
		}
	}

	before, err := s.Requests()
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string][]string{}
	for name, text := range golden.Secrets {
		for child := name; strings.Contains(child, "/"); child = path.Dir(child) {
			entry := path.Base(child)
			if child != name {
				entry += "/"
			}
			if folder := path.Dir(child); !slices.Contains(folders[folder], entry) {
				folders[folder] = append(folders[folder], entry)
			}
		}
		secret, err := reader.Logical().ReadWithContext(ctx, apiPath(name, "data"))
		if err != nil || secret == nil {
			t.Errorf("reading %s gave %v: %v", name, secret, err)
			continue
		}
		data := secret.Data
		if strings.HasPrefix(name, golden.KV2) {
			data, _ = secret.Data["data"].(map[string]any)
		}
		if !reflect.DeepEqual(data, golden.Data(text)) {
			t.Errorf("%s has %v, want %s", name, data, text)
		}
	}
	if data := golden.Data(golden.Secrets["secret/seeds/team4/project2/complex"]); data["b"] != json.Number("123") {
		t.Errorf("the number is %T %v, so the comparison above shows little", data["b"], data["b"])
	}
	for folder, entries := range folders {
		list, err := reader.Logical().ListWithContext(ctx, apiPath(folder+"/", "metadata"))
		if err != nil || list == nil {
			t.Errorf("listing %s gave %v: %v", folder, list, err)
			continue
		}
		var got []string
		for _, key := range list.Data["keys"].([]any) {
			got = append(got, key.(string))
		}
		slices.Sort(entries)
		if !slices.Equal(slices.Sorted(slices.Values(got)), entries) {
			t.Errorf("%s has %v, want %v", folder, got, entries)
		}
	}

	after, err := s.Requests()
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, r := range after[len(before):] {
		count[r.Operation]++
		if r.Who != "approle" || r.Error != "" {
			t.Errorf("the audit log has %+v, want a request of approle that was answered", r)
		}
	}
	if expected := map[string]int{"read": len(golden.Secrets), "list": len(folders)}; !maps.Equal(count, expected) {
		t.Errorf("the audit log counts %v, want %v", count, expected)
	}

	_, err = reader.Logical().WriteWithContext(ctx, "v1/something/a/secret", map[string]any{"a": "2"})
	refused(t, "writing with the rights to read", err)
	_, err = reader.Sys().ListMountsWithContext(ctx)
	refused(t, "listing the mounts with the rights to read secrets", err)
	nobody, err := s.Client("")
	if err != nil {
		t.Fatal(err)
	}
	_, err = nobody.Logical().ReadWithContext(ctx, "v1/something/a/secret")
	refused(t, "reading without a token", err)
	last, err := s.Requests()
	if err != nil {
		t.Fatal(err)
	}
	if r := last[len(last)-1]; r.Path != "v1/something/a/secret" || !strings.Contains(r.Error, "permission denied") {
		t.Errorf("the last line of the audit log is %+v, want the refusal", r)
	}
	if secret, err := reader.Logical().ReadWithContext(ctx, "v1/something/nothing"); secret != nil || err != nil {
		t.Errorf("where there is nothing, Vault has %v: %v", secret, err)
	}
}
