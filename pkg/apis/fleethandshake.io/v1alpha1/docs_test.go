package v1alpha1

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTroubleshootingNamesEveryReasonAndState reads the constants, so that a new one needs a line in the docs.
func TestTroubleshootingNamesEveryReasonAndState(t *testing.T) {
	docs, err := os.ReadFile("../../../../docs/troubleshooting.md")
	require.NoError(t, err)
	found := 0
	for file, pattern := range map[string]string{
		"conditions.go": `(?m)^\t(?:Reason\w+|Cluster\w+ ClusterReason) = "(\w+)"`,
		"types.go":      `(?m)^\tCluster\w+ ClusterState = "(\w+)"`,
	} {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(source), -1) {
			found++
			if !strings.Contains(string(docs), "`"+match[1]+"`") {
				t.Errorf("docs/troubleshooting.md says nothing of %s", match[1])
			}
		}
	}
	assert.Greater(t, found, 40)
}
