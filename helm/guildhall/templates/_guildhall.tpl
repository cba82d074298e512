{{- define "guildhall.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name }}{{ end -}}
{{- end }}

{{- define "guildhall.labels" -}}
app.kubernetes.io/name: guildhall
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Of one part: called with (list $ "api"). */ -}}
{{- define "guildhall.selector" -}}
app.kubernetes.io/name: guildhall
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "guildhall.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository is missing: name the image that helm/image/Containerfile made" $image.repository -}}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}{{ else }}{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{- define "guildhall.database.secret" -}}
{{- if .Values.trial.enabled }}{{ include "guildhall.name" . }}-trial-database
{{- else }}{{ required "database.existingSecret is missing: a secret with the addresses of a PostgreSQL, or trial.enabled=true" .Values.database.existingSecret }}{{ end -}}
{{- end }}

{{- define "guildhall.keys.secret" -}}
{{- .Values.keys.existingSecret | default (printf "%s-keys" (include "guildhall.name" .)) -}}
{{- end }}

{{- /* Called with (list $ "url"): one address out of the secret, as a variable. */ -}}
{{- define "guildhall.database.variable" -}}
{{- $values := (index . 0).Values -}}
{{- $migrates := eq (index . 1) "migrationUrl" -}}
- name: {{ $migrates | ternary "GUILDHALL_MIGRATION_DATABASE_URL" "GUILDHALL_DATABASE_URL" }}
  valueFrom:
    secretKeyRef:
      name: {{ include "guildhall.database.secret" (index . 0) }}
      key: {{ $values.trial.enabled | ternary (index . 1) ($migrates | ternary $values.database.migrationUrlKey $values.database.urlKey) }}
{{- end }}

{{- define "guildhall.pod.security" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "guildhall.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What every pod says of where it may run, and as whom. */ -}}
{{- define "guildhall.pod.placement" -}}
serviceAccountName: {{ include "guildhall.name" . }}
enableServiceLinks: false # a Service called guildhall would be variables that look like settings
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext: {{ include "guildhall.pod.security" . | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The settings and addresses of every container that works on the database. */ -}}
{{- define "guildhall.container.environment" -}}
envFrom:
  - configMapRef: {name: {{ include "guildhall.name" . }}}
  {{- with .Values.artifacts.existingSecret }}
  - secretRef: {name: {{ . }}}
  {{- end }}
env: {{ include "guildhall.database.variable" (list . "url") | nindent 2 }}
{{- end }}

{{- define "guildhall.container.common" -}}
image: {{ include "guildhall.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{ include "guildhall.container.security" . | nindent 2 }}
{{- end }}

{{- /* Nothing starts on tables that are older than the program. */ -}}
{{- define "guildhall.container.waiting" -}}
- name: wait-for-migration
  {{- include "guildhall.container.common" . | nindent 2 }}
  args: [migrate, --wait]
  {{- include "guildhall.container.environment" . | nindent 2 }}
  resources: {{ toYaml .Values.migration.resources | nindent 4 }}
  volumeMounts:
    - {name: scratch, mountPath: /tmp}
    - {name: data, mountPath: /var/lib/guildhall}
{{- end }}

{{- define "guildhall.mounts" -}}
- {name: scratch, mountPath: /tmp}
- {name: data, mountPath: /var/lib/guildhall}
- {name: keys, mountPath: /etc/guildhall/keys, readOnly: true}
{{- if .Values.trial.enabled }}
- {name: artifacts, mountPath: /var/lib/guildhall-artifacts}
{{- end }}
{{- end }}

{{- /* Called with (list $ "api"). Only the sealer sees the key that signs the heads of the audit record. */ -}}
{{- define "guildhall.volumes" -}}
{{- $root := index . 0 -}}
- {name: scratch, emptyDir: {}}
- {name: data, emptyDir: {}}
- name: keys
  secret:
    secretName: {{ include "guildhall.keys.secret" $root }}
    defaultMode: 0440
    items:
      {{- range list "secret.key" "audit.key" "credentials.key" }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
      {{- if eq (index . 1) "sealer" }}
      - {key: seal.key, path: seal.key}
      {{- end }}
{{- if $root.Values.trial.enabled }}
- name: artifacts
  persistentVolumeClaim: {claimName: {{ include "guildhall.name" $root }}-trial-artifacts}
{{- end }}
{{- end }}

{{- /* A Deployment of one part: called with (dict "root" $ "part" "api" "replicas" 2 "resources" … "container" "…"). */ -}}
{{- define "guildhall.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "guildhall.name" $root }}-{{ .part }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{ include "guildhall.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
  {{- with .annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  replicas: {{ .replicas }}
  {{- if $root.Values.trial.enabled }}
  strategy: {type: Recreate} # the volume of a trial may be one machine's
  {{- end }}
  selector:
    matchLabels: {{ include "guildhall.selector" (list $root .part) | nindent 6 }}
  template:
    metadata:
      labels: {{ include "guildhall.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .part }}
      annotations:
        guildhall.io/configuration: {{ include "guildhall.settings" $root | sha256sum }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "guildhall.pod.placement" $root | nindent 6 }}
      automountServiceAccountToken: {{ and .speaks $root.Values.clusterAccess.create }}
      terminationGracePeriodSeconds: 40
      initContainers: {{ include "guildhall.container.waiting" $root | nindent 8 }}
      containers:
        - name: {{ .part }}
          {{- include "guildhall.container.common" $root | nindent 10 }}
          args: [{{ .part }}]
          {{- include "guildhall.container.environment" $root | nindent 10 }}
          resources: {{ toYaml .resources | nindent 12 }}
          volumeMounts: {{ include "guildhall.mounts" $root | nindent 12 }}
          {{- with .container }}
          {{- . | nindent 10 }}
          {{- end }}
      volumes: {{ include "guildhall.volumes" (list $root .part) | nindent 8 }}
{{- end }}

{{- define "guildhall.settings" -}}
{{- $name := include "guildhall.name" . -}}
{{- $url := printf "http://%s.%s.svc:%v" $name .Release.Namespace .Values.service.port -}}
{{- $artifacts := .Values.artifacts.url -}}
{{- $heads := .Values.sealer.headsUrl -}}
{{- if .Values.trial.enabled -}}
{{- $artifacts = "file:///var/lib/guildhall-artifacts/artifacts" -}}
{{- $heads = "file:///var/lib/guildhall-artifacts/audit-heads" -}}
{{- end -}}
{{- $artifacts = required "artifacts.url is missing: an object store such as s3://bucket/prefix, or trial.enabled=true" $artifacts -}}
{{- if .Values.sealer.enabled -}}
{{- $heads = required "sealer.headsUrl is missing: where the signed heads of the audit record go, such as s3://audit/heads, or sealer.enabled=false" $heads -}}
{{- end -}}
{{- $settings := dict
  "BIND" "0.0.0.0:8321"
  "DATA_DIR" "/var/lib/guildhall"
  "PUBLIC_URL" (.Values.publicUrl | default $url)
  "JOBS_URL" (.Values.jobsUrl | default $url)
  "ARTIFACTS_URL" $artifacts
  "SECRET_KEY_FILE" "/etc/guildhall/keys/secret.key"
  "AUDIT_KEY_FILE" "/etc/guildhall/keys/audit.key"
  "CREDENTIALS_KEY_FILE" "/etc/guildhall/keys/credentials.key"
  "SEAL_KEY_FILE" "/etc/guildhall/keys/seal.key"
  "AUDIT_HEADS_URL" $heads
  "GRAPHQL_INTROSPECTION" "false"
  "GRAPHQL_SUGGESTIONS" "false"
  "GRAPHQL_GRAPHIQL" "false"
-}}
{{- range $key, $value := merge (deepCopy .Values.settings) $settings }}
{{- if $value }}
GUILDHALL_{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}
