// Command admission writes the admission policies: nobody gets through the operator what they may not do themselves. Who
// sends or grants a Secret must be able to read it, and who logs in to Vault must be able to use what that takes. The API
// server evaluates them; there is no webhook. Run it through "make generate".
package main

import (
	"fmt"
	"os"
	"strings"
	"text/template"
)

// maxNamed is how many objects a grant may name. One expression may ask the authorizer twice, and all of a policy 28
// times (Kubernetes 1.36, apiserver/pkg/cel/library/cost.go and apiserver/pkg/apis/cel/config.go), so each name has an
// expression of its own.
const maxNamed = 20

func main() {
	err := policies.Execute(os.Stdout, map[string]any{
		"MaxNamed":    maxNamed,
		"Handshakes":  on("fleethandshakes", "fleethandshakes"),
		"Grants":      on("secretgrants", "secretgrants"),
		"Sources":     on("vaultsources", "vaultdynamicsecrets", "vaultpkisecrets", "vaultsecrets"),
		"VSecM":       on("vsecmsecrets", "vsecmsecrets"),
		"Connections": on("vaultconnections", "vaultconnections"),
		// A variable of that policy, and what the Secret of its name is for.
		"Reads": map[string]string{"login": "log in to Vault with it", "ca": "check the certificate of a server with it"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// policy is one policy, on some of our kinds.
type policy struct {
	Name, Resources string
}

func on(name string, resources ...string) policy {
	return policy{name, strings.Join(resources, ", ")}
}

var policies = template.Must(template.New("").Parse(`
{{- define "head"}}apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{.Name}}.fleethandshake.io
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - apiGroups: [fleethandshake.io]
      apiVersions: ["*"]
      operations: [CREATE, UPDATE]
      resources: [{{.Resources}}]
  matchConditions:
  - name: the-spec-changes
    expression: oldObject == null || object.spec != oldObject.spec
{{- end}}

{{- define "binding"}}apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{.Name}}.fleethandshake.io
spec:
  policyName: {{.Name}}.fleethandshake.io
  validationActions: [Deny]
{{- end}}

{{- /* Takes the field that names the account. Both policies have the variable account, which is empty for the default of
the operator: nobody here knows its name, so that any may be meant. */}}
{{- define "token"}}authorizer.group('').resource('serviceaccounts').subresource('token').namespace(object.metadata.namespace).name(variables.account).check('create').allowed()
    reason: Forbidden
    messageExpression: >-
      variables.account != ''
      ? 'you may not create a token of ServiceAccount ' + object.metadata.namespace + '/' + variables.account + ', and so cannot log in to Vault with it; ask for the verb create on serviceaccounts/token with the name ' + variables.account + ' in namespace ' + object.metadata.namespace
      : 'you may not create a token of every ServiceAccount of namespace ' + object.metadata.namespace + ', and so cannot send that of the default one to a server; name one that you may in {{.}}, or ask for the verb create on serviceaccounts/token there'
{{- end}}

{{- /* Needs the variables secret and policy. */}}
{{- define "overwrite"}}variables.policy == 'Fail'
      || authorizer.group('').resource('secrets').namespace(object.metadata.namespace).name(variables.secret).check('update').allowed()
    reason: Forbidden
    messageExpression: "'you may not update Secret ' + object.metadata.namespace + '/' + variables.secret + ', and so cannot let it be overwritten; write conflictPolicy: Fail, or ask for the verb update on secrets/' + variables.secret + ' in namespace ' + object.metadata.namespace"
{{- end -}}

# Written by make generate.
# Who creates a FleetHandshake, or changes its spec, must be able to get the Secret that it names.
{{template "head" .Handshakes}}
  variables:
  - name: source
    expression: "has(object.spec.secretNamespace) && object.spec.secretNamespace != '' ? object.spec.secretNamespace : object.metadata.namespace"
  validations:
  - expression: authorizer.group('').resource('secrets').namespace(variables.source).name(object.spec.secretName).check('get').allowed()
    reason: Forbidden
    messageExpression: "'you may not get Secret ' + variables.source + '/' + object.spec.secretName + ', and so cannot send it; ask for the verb get on secrets/' + object.spec.secretName + ' in namespace ' + variables.source"
---
{{template "binding" .Handshakes}}
---
# Who creates a SecretGrant, or changes its spec, must be able to get what it grants.
{{template "head" .Grants}}
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
      size(variables.named) <= {{.MaxNamed}} || object.spec.to.all(t, t.kind == 'Secret' ? variables.everySecret : variables.everyConfigMap)
    reason: Forbidden
    message: a SecretGrant of somebody who may not get every Secret and ConfigMap of the namespace can name {{.MaxNamed}} objects; write several SecretGrants
{{- range .MaxNamed}}
  - expression: >-
      size(variables.named) <= {{.}} || (variables.named[{{.}}].startsWith('secrets/') ? variables.everySecret : variables.everyConfigMap)
      || authorizer.group('').resource(variables.named[{{.}}].split('/')[0]).namespace(object.metadata.namespace).name(variables.named[{{.}}].split('/')[1]).check('get').allowed()
    reason: Forbidden
    messageExpression: "'you may not get ' + variables.named[{{.}}] + ' in namespace ' + object.metadata.namespace + ', and so cannot grant it; ask for the verb get on it'"
{{- end}}
---
{{template "binding" .Grants}}
---
# Who creates a VaultSecret, VaultDynamicSecret or VaultPKISecret, or changes its spec, must be able to create tokens of the
# service account whose token the operator sends to a server: when they name the account, and when they choose the server.
# Who lets it overwrite a Secret must be able to update that.
{{template "head" .Sources}}
  variables:
  - name: account
    expression: object.spec.?auth.?serviceAccountRef.?name.orValue('')
  - name: secret
    expression: "object.spec.?targetSecretName.orValue('') != '' ? object.spec.targetSecretName : object.metadata.name"
  - name: policy
    expression: object.spec.?conflictPolicy.orValue('Fail')
  validations:
  - expression: >-
      variables.account == '' && !has(object.spec.addr) && !(has(object.spec.connectionRef) && object.spec.?auth.?serviceAccountRef.hasValue())
      || {{template "token" "spec.auth.serviceAccountRef.name"}}
  - expression: >-
      {{template "overwrite"}}
---
{{template "binding" .Sources}}
---
# Who lets a VSecMSecret overwrite a Secret must be able to update that. What it may read is up to the flag --vsecm-allow of
# the operator.
{{template "head" .VSecM}}
  variables:
  - name: secret
    expression: "object.spec.?target.?name.orValue('') != '' ? object.spec.target.name : object.metadata.name"
  - name: policy
    expression: object.spec.?target.?conflictPolicy.orValue('Fail')
  validations:
  - expression: >-
      {{template "overwrite"}}
---
{{template "binding" .VSecM}}
---
# Who creates a VaultConnection, or changes its spec, must be able to get each Secret that it names, and, where it logs in
# without one, to create tokens of the service account.
{{template "head" .Connections}}
  variables:
  - name: account
    expression: object.spec.?auth.?kubernetes.?serviceAccountName.or(object.spec.?auth.?jwt.?serviceAccountName).orValue('')
  # A VaultConnection has one way to log in.
  - name: login
    expression: >-
      object.spec.?auth.?jwt.?secretRef.?name.or(object.spec.?auth.?appRole.?secretIDRef.?name).or(object.spec.?auth.?cert.?secretRef.?name).or(object.spec.?auth.?token.?secretRef.?name).orValue('')
  - name: ca
    expression: object.spec.?ca.?secretRef.?name.orValue('')
  validations:
  - expression: >-
      variables.login != ''
      || {{template "token" "spec.auth.kubernetes.serviceAccountName"}}
{{- range $variable, $purpose := .Reads}}
  - expression: >-
      variables.{{$variable}} == ''
      || authorizer.group('').resource('secrets').namespace(object.metadata.namespace).name(variables.{{$variable}}).check('get').allowed()
    reason: Forbidden
    messageExpression: "'you may not get Secret ' + object.metadata.namespace + '/' + variables.{{$variable}} + ', and so cannot {{$purpose}}; ask for the verb get on secrets/' + variables.{{$variable}} + ' in namespace ' + object.metadata.namespace"
{{- end}}
---
{{template "binding" .Connections}}
`))
