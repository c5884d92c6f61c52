// Command admission writes the admission policies: who sends or grants a Secret must be able to read it. The API server
// evaluates them; there is no webhook. Run it through "make generate".
package main

import (
	"fmt"
	"os"
	"text/template"
)

// maxNamed is how many objects a grant may name. One expression may ask the authorizer twice, and all of a policy 28
// times (Kubernetes 1.36, apiserver/pkg/cel/library/cost.go and apiserver/pkg/apis/cel/config.go), so each name has an
// expression of its own.
const maxNamed = 20

func main() {
	if err := policies.Execute(os.Stdout, maxNamed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var policies = template.Must(template.New("").Parse(`
{{- define "head"}}apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{.}}.fleethandshake.io
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - apiGroups: [fleethandshake.io]
      apiVersions: ["*"]
      operations: [CREATE, UPDATE]
      resources: [{{.}}]
  matchConditions:
  - name: the-spec-changes
    expression: oldObject == null || object.spec != oldObject.spec
{{- end}}

{{- define "binding"}}apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{.}}.fleethandshake.io
spec:
  policyName: {{.}}.fleethandshake.io
  validationActions: [Deny]
{{- end -}}

# Written by make generate.
# Who creates a FleetHandshake, or changes its spec, must be able to get the Secret that it names.
{{template "head" "fleethandshakes"}}
  variables:
  - name: source
    expression: "has(object.spec.secretNamespace) && object.spec.secretNamespace != '' ? object.spec.secretNamespace : object.metadata.namespace"
  validations:
  - expression: authorizer.group('').resource('secrets').namespace(variables.source).name(object.spec.secretName).check('get').allowed()
    reason: Forbidden
    messageExpression: "'you may not get Secret ' + variables.source + '/' + object.spec.secretName + ', and so cannot send it; ask for the verb get on secrets/' + object.spec.secretName + ' in namespace ' + variables.source"
---
{{template "binding" "fleethandshakes"}}
---
# Who creates a SecretGrant, or changes its spec, must be able to get what it grants.
{{template "head" "secretgrants"}}
  variables:
  - name: everySecret
    expression: authorizer.group('').resource('secrets').namespace(object.metadata.namespace).check('get').allowed()
  - name: everyConfigMap
    expression: authorizer.group('').resource('configmaps').namespace(object.metadata.namespace).check('get').allowed()
  # As secrets/name and configmaps/name. It must not depend on the authorizer, which no messageExpression can use.
  - name: named
    expression: >-
      object.spec.to.filter(t, has(t.names)).map(t, t.names.map(n, (t.kind == 'Secret' ? 'secrets/' : 'configmaps/') + n).join(',')).join(',').split(',').filter(n, n != '')
  validations:
  - expression: object.spec.to.all(t, t.kind != 'Secret' || has(t.names) && size(t.names) > 0 || variables.everySecret)
    reason: Forbidden
    messageExpression: "'you may not get every Secret of namespace ' + object.metadata.namespace + ', and so cannot grant all of them; name those that you may get in spec.to[].names, or ask for the verb get on secrets there'"
  - expression: object.spec.to.all(t, t.kind != 'ConfigMap' || has(t.names) && size(t.names) > 0 || variables.everyConfigMap)
    reason: Forbidden
    messageExpression: "'you may not get every ConfigMap of namespace ' + object.metadata.namespace + ', and so cannot grant all of them; name those that you may get in spec.to[].names, or ask for the verb get on configmaps there'"
  - expression: >-
      size(variables.named) <= {{.}} || object.spec.to.all(t, t.kind == 'Secret' ? variables.everySecret : variables.everyConfigMap)
    reason: Forbidden
    message: a SecretGrant of somebody who may not get every Secret and ConfigMap of the namespace can name {{.}} objects; write several SecretGrants
{{- range .}}
  - expression: >-
      size(variables.named) <= {{.}} || (variables.named[{{.}}].startsWith('secrets/') ? variables.everySecret : variables.everyConfigMap)
      || authorizer.group('').resource(variables.named[{{.}}].split('/')[0]).namespace(object.metadata.namespace).name(variables.named[{{.}}].split('/')[1]).check('get').allowed()
    reason: Forbidden
    messageExpression: "'you may not get ' + variables.named[{{.}}] + ' in namespace ' + object.metadata.namespace + ', and so cannot grant it; ask for the verb get on it'"
{{- end}}
---
{{template "binding" "secretgrants"}}
`))
