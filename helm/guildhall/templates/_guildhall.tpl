{{- /* With the longest of what we and Kubernetes add to it, no name is longer than 63 characters. */ -}}
{{- define "guildhall.name" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- $name | trunc 36 | trimSuffix "-" -}}
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

{{- /* The settings and addresses of a container of a part, called with (list $ "api"); the migration has no store. */ -}}
{{- define "guildhall.container.environment" -}}
{{- $root := index . 0 -}}
{{- $store := $root.Values.artifacts.existingSecret -}}
{{- if eq (index . 1) "sealer" }}{{ $store = $root.Values.sealer.existingSecret | default $store }}{{ end -}}
{{- if eq (index . 1) "migration" }}{{ $store = "" }}{{ end -}}
envFrom:
  - configMapRef: {name: {{ include "guildhall.name" $root }}}
  {{- with $store }}
  - secretRef: {name: {{ . }}}
  {{- end }}
env: {{ include "guildhall.database.variable" (list $root "url") | nindent 2 }}
  {{- if $root.Values.authorities.existingConfigMap }}
  {{- range list "SSL_CERT_FILE" "PGSSLROOTCERT" }}
  - {name: {{ . }}, value: /etc/guildhall/authorities/ca.crt}
  {{- end }}
  {{- end }}
{{- end }}

{{- /* The settings of a part that are secrets, each with the secret's name and key: called with (list $ "api"). */ -}}
{{- define "guildhall.secrets" -}}
{{- $root := index . 0 -}}
{{- $secrets := deepCopy $root.Values.secretSettings -}}
{{- $mail := $root.Values.mail -}}
{{- if and $mail.existingSecret (not $mail.url) }}{{ fail "mail.url is missing: the server that mail.existingSecret has the password for" }}{{ end -}}
{{- if and $mail.existingSecret (eq (index . 1) "worker") -}}
{{- $_ := set $secrets "SMTP_PASSWORD_FILE" (dict "name" $mail.existingSecret "key" $mail.passwordKey) -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end }}

{{- define "guildhall.secrets.variables" -}}
{{- range $name, $secret := include "guildhall.secrets" . | fromYaml }}
- name: GUILDHALL_{{ $name }}
  {{- if hasSuffix "_FILE" $name }}
  value: /etc/guildhall/secrets/{{ $name }}
  {{- else }}
  valueFrom: {secretKeyRef: {{ toJson $secret }}}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Those of them that are files, as the sources of one volume. */ -}}
{{- define "guildhall.secrets.files" -}}
{{- range $name, $secret := include "guildhall.secrets" . | fromYaml }}
{{- if hasSuffix "_FILE" $name }}
- secret: {name: {{ $secret.name }}, items: [{key: {{ $secret.key | quote }}, path: {{ $name }}}]}
{{- end }}
{{- end }}
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
  {{- include "guildhall.container.environment" (list . "migration") | nindent 2 }}
  resources: {{ toYaml .Values.migration.resources | nindent 4 }}
  volumeMounts: {{ include "guildhall.mounts.common" . | nindent 4 }}
{{- end }}

{{- define "guildhall.mounts.common" -}}
- {name: scratch, mountPath: /tmp}
- {name: data, mountPath: /var/lib/guildhall}
{{- if .Values.authorities.existingConfigMap }}
- {name: authorities, mountPath: /etc/guildhall/authorities, readOnly: true}
{{- end }}
{{- end }}

{{- /* Called with (list $ "api"). */ -}}
{{- define "guildhall.mounts" -}}
{{- $root := index . 0 -}}
{{ include "guildhall.mounts.common" $root }}
- {name: keys, mountPath: /etc/guildhall/keys, readOnly: true}
{{- if include "guildhall.secrets.files" . }}
- {name: secrets, mountPath: /etc/guildhall/secrets, readOnly: true}
{{- end }}
{{- if $root.Values.trial.enabled }}
- {name: artifacts, mountPath: /var/lib/guildhall-artifacts}
{{- end }}
{{- end }}

{{- define "guildhall.volumes.common" -}}
- {name: scratch, emptyDir: {}}
- {name: data, emptyDir: {}}
{{- with .Values.authorities.existingConfigMap }}
- name: authorities
  configMap: {name: {{ . }}, items: [{key: {{ $.Values.authorities.key | quote }}, path: ca.crt}]}
{{- end }}
{{- end }}

{{- /* Called with (list $ "api"). Only the sealer sees the key that signs the heads of the audit record. */ -}}
{{- define "guildhall.volumes" -}}
{{- $root := index . 0 -}}
{{ include "guildhall.volumes.common" $root }}
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
{{- with include "guildhall.secrets.files" . }}
- name: secrets
  projected:
    defaultMode: 0440
    sources: {{ . | nindent 6 }}
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
          {{- include "guildhall.container.environment" (list $root .part) | nindent 10 }}
            {{- with include "guildhall.secrets.variables" (list $root .part) }}
            {{- . | nindent 12 }}
            {{- end }}
          resources: {{ toYaml .resources | nindent 12 }}
          volumeMounts: {{ include "guildhall.mounts" (list $root .part) | nindent 12 }}
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
{{- $mail := .Values.mail -}}
{{- if and $mail.url (not $mail.from) }}{{ fail "mail.from is missing: who mails are from, such as Guildhall <guildhall@example.org>" }}{{ end -}}
{{- $settings := dict
  "BIND" "0.0.0.0:8321"
  "API_PROCESSES" (toString .Values.api.processes)
  "SMTP_URL" $mail.url
  "MAIL_FROM" $mail.from
  "WEBHOOK_NETWORKS" (join "," .Values.webhooks.networks)
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
