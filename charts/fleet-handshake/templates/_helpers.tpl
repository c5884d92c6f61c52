{{/* One operator works on a hub, so the names of all objects are constant. */}}

{{- define "fleet-handshake.selectorLabels" -}}
app.kubernetes.io/name: fleet-handshake
{{- end -}}

{{- define "fleet-handshake.labels" -}}
{{- include "fleet-handshake.labelsWith" (list . dict) -}}
{{- end -}}

{{/* Takes the root and more labels. Those of the chart win: selectors depend on them. */}}
{{- define "fleet-handshake.labelsWith" -}}
{{- $root := index . 0 -}}
{{- $labels := include "fleet-handshake.selectorLabels" $root | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/instance" $root.Release.Name -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "fleet-handshake" -}}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- toYaml (merge $labels (index . 1 | default dict) ($root.Values.labels | default dict)) -}}
{{- end -}}

{{- define "fleet-handshake.image" -}}
{{- $registry := ((.Values.global).cattle).systemDefaultRegistry | default "" | trimSuffix "/" -}}
{{- $tag := .Values.image.tag | default (printf "v%s" .Chart.AppVersion) -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}

{{/* Pull secrets are names or objects with a name. */}}
{{- define "fleet-handshake.imagePullSecrets" -}}
{{- $global := .Values.global | default dict -}}
{{- $names := list -}}
{{- range concat (.Values.imagePullSecrets | default list) ($global.imagePullSecrets | default list) ((($global).cattle).imagePullSecrets | default list) -}}
{{- $names = append $names (kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") .) -}}
{{- end -}}
{{- range $names | uniq }}
- name: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The objects of a file, as a dict with the key "objects". The file has YAML documents. */}}
{{- define "fleet-handshake.objects" -}}
{{- $objects := list -}}
{{- range regexSplit "(?m)^---$" (.root.Files.Get .file) -1 -}}
{{- $object := fromYaml . -}}
{{- if hasKey $object "Error" -}}
{{- fail (printf "%s is not YAML: %s" $.file $object.Error) -}}
{{- end -}}
{{- if $object -}}
{{- $objects = append $objects $object -}}
{{- end -}}
{{- end -}}
{{- if not $objects -}}
{{- fail (printf "the chart is incomplete: %s has no objects" .file) -}}
{{- end -}}
{{- dict "objects" $objects | toYaml -}}
{{- end -}}

{{/* The service account as a subject of a binding. */}}
{{- define "fleet-handshake.subjects" -}}
- kind: ServiceAccount
  name: fleet-handshake
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}

{{/* Takes the root and a kind of the Prometheus Operator, and is empty when the API server does not have that. */}}
{{- define "fleet-handshake.hasMonitoring" -}}
{{- if (index . 0).Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" (index . 1)) }}true{{ end -}}
{{- end -}}

{{/* Empty when the API server does not have the kind ClusterSPIFFEID. */}}
{{- define "fleet-handshake.hasClusterSPIFFEID" -}}
{{- if .Capabilities.APIVersions.Has "spire.spiffe.io/v1alpha1/ClusterSPIFFEID" }}true{{ end -}}
{{- end -}}

{{/* The namespaces of vsecm.allow, each once, as a dict with the key "namespaces". */}}
{{- define "fleet-handshake.vsecm" -}}
{{- $namespaces := list -}}
{{- range .Values.vsecm.allow -}}
{{- $namespaces = append $namespaces (splitList "/" . | first) -}}
{{- end -}}
{{- dict "namespaces" (uniq $namespaces) | toYaml -}}
{{- end -}}
