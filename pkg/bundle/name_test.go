package bundle

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

func TestName(t *testing.T) {
	for title, c := range map[string]struct{ handshake, namespace, want string }{
		"a short name is kept":                 {"registry-creds", "apps", "hs-registry-creds-228797a959"},
		"another target namespace, another":    {"registry-creds", "other", "hs-registry-creds-afe861d4ed"},
		"dots become dashes, never two":        {"a.-.b", "apps", "hs-a-b-228797a959"},
		"a long name is cut, not after a dash": {strings.Repeat("a", 38) + "-b" + strings.Repeat("c", 213), "apps", "hs-" + strings.Repeat("a", 38) + "-228797a959"},
	} {
		t.Run(title, func(t *testing.T) {
			assert.Equal(t, c.want, Name(c.handshake, "1b4e28ba-2fa1-11d2-883f-0016d3cca427", c.namespace))
		})
	}
}

// releaseName is what Fleet 0.16.0 takes without shortening (internal/names).
var releaseName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func FuzzName(f *testing.F) {
	f.Add("registry-creds", "uid", "apps")
	f.Add(strings.Repeat("x.", 126)+"x", "uid", "apps")
	f.Add("", "", "")
	f.Add("--", "uid", "-")
	f.Add("fleet-agent", "uid", "apps")
	f.Add("ümläut/../%", "uid", "apps")
	f.Fuzz(func(t *testing.T, handshake, uid, namespace string) {
		name := Name(handshake, types.UID(uid), namespace)
		if len(name) > 53 || !releaseName.MatchString(name) || strings.Contains(name, "--") || strings.HasPrefix(name, "fleet-agent") {
			t.Errorf("%q is no release name", name)
		}
		if name != Name(handshake, types.UID(uid), namespace) {
			t.Error("not deterministic")
		}
		if name == Name(handshake, types.UID(uid+"x"), namespace) || name == Name(handshake, types.UID(uid), namespace+"x") {
			t.Error("the same name for another handshake or namespace")
		}
		if len(validation.IsDNS1123Subdomain(handshake)) == 0 && len(validation.IsValidLabelValue(LabelValue(handshake))) > 0 {
			t.Errorf("%q is no label value", LabelValue(handshake))
		}
	})
}
