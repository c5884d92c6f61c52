package operator

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestValidate(t *testing.T) {
	good := Options{Namespace: "fleet-handshake-system", LeaderElect: true, ListenAddress: ":8080", Workers: 8}
	require.NoError(t, good.Validate())
	require.NoError(t, Options{ListenAddress: "0", Workers: 1}.Validate())
	for want, o := range map[string]Options{
		"--namespace is empty":                        {LeaderElect: true, ListenAddress: "0", Workers: 1},
		"--workers is 0: write 1 or more":             {ListenAddress: "0"},
		`--listen-address is "8080": write host:port`: {ListenAddress: "8080", Workers: 1},
	} {
		require.ErrorContains(t, o.Validate(), want)
	}
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
