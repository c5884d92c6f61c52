package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

const (
	namePrefix = "hs-"
	// maxName is the longest Helm release name. A longer one is shortened by Fleet, and the garbage collector of
	// Fleet 0.16.0 then uninstalls and reinstalls the release for ever.
	maxName = 53
	// suffixLen is how many hex digits of the hash end a name.
	suffixLen = 10
	// maxLabelValue is the longest label value that Kubernetes takes.
	maxLabelValue = 63
)

var notDNSLabel = regexp.MustCompile(`[^a-z0-9]+`)

// Name of the Bundle, of its values Secret and of the Helm release for one handshake and one target namespace. It is a
// DNS label of at most 53 characters, without "--", and different for each UID and target namespace: BundleDeployments
// of Bundles with the same name collide, and Fleet deletes any Secret that bears the name of a deleted Bundle.
func Name(handshake string, uid types.UID, targetNamespace string) string {
	readable := strings.Trim(notDNSLabel.ReplaceAllString(handshake, "-"), "-")
	room := maxName - len(namePrefix) - 1 - suffixLen
	if len(readable) > room {
		readable = strings.TrimRight(readable[:room], "-")
	}
	if readable != "" {
		readable += "-"
	}
	return namePrefix + readable + shortHash(string(uid)+"/"+targetNamespace)
}

// LabelValue is the name itself where it fits into a label value; a longer one is cut, with a hash at its end.
func LabelValue(name string) string {
	if len(name) <= maxLabelValue {
		return name
	}
	return strings.TrimRight(name[:maxLabelValue-1-suffixLen], "-.") + "-" + shortHash(name)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:suffixLen]
}
