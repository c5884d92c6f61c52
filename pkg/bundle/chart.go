package bundle

// chart is the template of the Secrets; Fleet adds the Chart.yaml. It is constant, so every Bundle of ours has the same content,
// and everything that differs is in the values. The namespace is the release's: the Bundle's defaultNamespace.
const chart = `{{- range .Values.secrets }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ toJson .name }}
  namespace: {{ toJson $.Release.Namespace }}
  {{- with .labels }}
  labels:
  {{- range $key, $value := . }}
    {{ toJson $key }}: {{ $value | b64dec | toJson }}
  {{- end }}
  {{- end }}
  {{- with .annotations }}
  annotations:
  {{- range $key, $value := . }}
    {{ toJson $key }}: {{ $value | b64dec | toJson }}
  {{- end }}
  {{- end }}
type: {{ toJson .type }}
{{- if .immutable }}
immutable: true
{{- end }}
data:
{{- range $key, $value := .data }}
  {{ toJson $key }}: {{ toJson $value }}
{{- else }}
  {}
{{- end }}
{{- end }}
`
