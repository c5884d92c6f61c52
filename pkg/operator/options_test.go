package operator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestValidate(t *testing.T) {
	require.NoError(t, Defaults().Validate())
	for title, c := range map[string]struct {
		change func(*Options)
		err    string
	}{
		"no worker": {
			func(o *Options) { o.Workers = 0 },
			"--workers is 0: write 1 or more",
		},
		"leader election without a namespace": {
			func(o *Options) { o.Namespace = "" },
			"--namespace is empty: name the namespace of the leader election's Lease, for example fleet-handshake-system",
		},
		"an address without a port": {
			func(o *Options) { o.ListenAddress = "localhost" },
			`--listen-address is "localhost": write host:port, for example :8080, or 0 to turn it off`,
		},
		"no namespace of Fleet": {
			func(o *Options) { o.FleetNamespace = "" },
			"--fleet-namespace is empty: name the namespace of Fleet's controller, for example cattle-fleet-system",
		},
		"a time before now": {
			func(o *Options) { o.OfflineAfter = -time.Second },
			"--offline-after is -1s: write a time such as 45m, or 0 for three of Fleet's check-in intervals",
		},
		"no time at all": {
			func(o *Options) { o.StuckAfter = 0 },
			"--stuck-after is 0s: write a time such as 10m",
		},
		"a negative grace": {
			func(o *Options) { o.MissingGrace = -time.Second },
			"--missing-grace is -1s: write a time such as 1m",
		},
		"more than all": {
			func(o *Options) { o.WithdrawalThreshold = 101 },
			"--withdrawal-threshold is 101: write a percentage from 0 to 100",
		},
	} {
		t.Run(title, func(t *testing.T) {
			o := Defaults()
			c.change(&o)
			assert.EqualError(t, o.Validate(), c.err)
		})
	}
	o := Defaults()
	o.ListenAddress = "0"
	require.NoError(t, o.Validate())
}
func TestHasValuesHash(t *testing.T) {
	crd := func(version string, properties map[string]apiextensionsv1.JSONSchemaProps) *apiextensionsv1.CustomResourceDefinition {
		return &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: version, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"spec": {Properties: properties},
				}},
			}}},
		}}
	}
	has := map[string]apiextensionsv1.JSONSchemaProps{"valuesHash": {}}
	assert.True(t, hasValuesHash(crd("v1alpha1", has)))
	assert.False(t, hasValuesHash(crd("v1alpha1", nil)))
	assert.False(t, hasValuesHash(crd("v2", has)))
	assert.False(t, hasValuesHash(&apiextensionsv1.CustomResourceDefinition{}))
}
