# Two pages: the key service, and the secrets.
locals {
  region = data.aws_region.current.id

  dimension_list = flatten([for name, value in local.emf_dimensions : [name, value]])

  kms_widgets = concat(
    [
      {
        title = "Decrypt and encrypt latency (ms)"
        metrics = [for pair in setproduct(["KMSDecryptLatency", "KMSEncryptLatency"], ["p50", "p99"]) :
          concat([local.emf_namespace, pair[0]], local.dimension_list, [{ stat = pair[1], label = join(" ", pair) }])
        ]
      },
      {
        title   = "Errors"
        metrics = [for metric in ["KMSDecryptErrors", "KMSEncryptErrors"] : concat([local.emf_namespace, metric], local.dimension_list, [{ stat = "Sum", label = metric }])]
      },
      {
        title = "Cache hit rate (%)"
        metrics = [
          [{ expression = "100 * FILL(hits, 0) / (FILL(hits, 0) + FILL(misses, 0))", label = "Hit rate", id = "rate" }],
          concat([local.emf_namespace, "KMSCacheHits"], local.dimension_list, [{ stat = "Sum", id = "hits", visible = false }]),
          concat([local.emf_namespace, "KMSCacheMisses"], local.dimension_list, [{ stat = "Sum", id = "misses", visible = false }]),
        ]
      },
      {
        title = "Decrypts and sign of life"
        metrics = [
          concat([local.emf_namespace, "KMSCacheMisses"], local.dimension_list, [{ stat = "Sum", label = "Decrypts" }]),
          concat([local.emf_namespace, "Heartbeat"], local.dimension_list, [{ stat = "Sum", label = "Heartbeats", yAxis = "right" }]),
        ]
      },
    ],
    [for widget in [{
      title   = "KMS in CloudTrail"
      metrics = [for metric in ["KMSUnauthorized", "KMSKeyAtRisk", "KMSKeyChanged", "AuditTampering", "KMSDecryptCalls"] : [var.audit_namespace, metric, { stat = "Sum" }]]
    }] : widget if var.with_audit_alarms],
  )

  secrets_widgets = concat(
    [{
      title   = "Secrets read by the application"
      metrics = [concat([local.emf_namespace, "SecretReads"], local.dimension_list, [{ stat = "Sum", label = "Reads" }])]
    }],
    [for widget in [
      {
        title   = "Secrets read by any caller"
        metrics = [[var.audit_namespace, "SecretReadCalls", { stat = "Sum" }]]
      },
      {
        title   = "Rotation and risk"
        metrics = [for metric in ["SecretsRotationFailed", "SecretsAtRisk"] : [var.audit_namespace, metric, { stat = "Sum" }]]
      },
    ] : widget if var.with_audit_alarms],
  )

  dashboards = { kms = local.kms_widgets, secrets = local.secrets_widgets }
}

resource "aws_cloudwatch_dashboard" "this" {
  for_each = local.dashboards

  dashboard_name = "${local.name}-${each.key}"

  dashboard_body = jsonencode({
    widgets = [for index, widget in each.value : {
      type   = "metric"
      x      = 12 * (index % 2)
      y      = 6 * floor(index / 2)
      width  = 12
      height = 6
      properties = {
        title   = widget.title
        metrics = widget.metrics
        region  = local.region
        view    = "timeSeries"
        stacked = false
        period  = 300
      }
    }]
  })
}
