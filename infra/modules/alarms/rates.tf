# The triggers of a rollback that CloudWatch can see, as rates: docs/operations/rollout.md. KMSDecryptErrors counts, these compare.

# Every data key that is not in the cache is a call to open it.
resource "aws_cloudwatch_metric_alarm" "decrypt_error_rate" {
  count = local.alarms["KMSDecryptErrorRate"].enabled ? 1 : 0

  alarm_name          = "${local.name}-KMSDecryptErrorRate"
  alarm_description   = "More than ${var.decrypt_error_rate_threshold} % of the decrypts failed within five minutes. Runbook: ${local.runbooks}/kms-decrypt-errors.md"
  evaluation_periods  = 1
  threshold           = var.decrypt_error_rate_threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms["KMSDecryptErrorRate"].actions
  ok_actions          = local.alarms["KMSDecryptErrorRate"].actions
  tags                = merge(local.tags, { Severity = local.alarms["KMSDecryptErrorRate"].severity })

  metric_query {
    id          = "rate"
    expression  = "IF(FILL(calls, 0) >= 20, 100 * FILL(errors, 0) / FILL(calls, 0), 0)"
    label       = "Failed decrypts (%)"
    return_data = true
  }

  metric_query {
    id = "errors"

    metric {
      namespace   = local.emf_namespace
      metric_name = "KMSDecryptErrors"
      dimensions  = local.emf_dimensions
      stat        = "Sum"
      period      = 300
    }
  }

  metric_query {
    id = "calls"

    metric {
      namespace   = local.emf_namespace
      metric_name = "KMSCacheMisses"
      dimensions  = local.emf_dimensions
      stat        = "Sum"
      period      = 300
    }
  }
}

# CloudWatch cannot look at the day before: the baseline is a number that is measured before a rollout.
resource "aws_cloudwatch_metric_alarm" "latency_above_baseline" {
  count = local.alarms["KMSLatencyAboveBaseline"].enabled && var.latency_baseline_ms != null ? 1 : 0

  alarm_name          = "${local.name}-KMSLatencyAboveBaseline"
  alarm_description   = "Decrypts take more than 20 % longer on average than their baseline of ${coalesce(var.latency_baseline_ms, 0)} ms, for fifteen minutes. Runbook: ${local.runbooks}/kms-high-latency.md"
  namespace           = local.emf_namespace
  metric_name         = "KMSDecryptLatency"
  dimensions          = local.emf_dimensions
  statistic           = "Average"
  period              = 300
  evaluation_periods  = 3
  threshold           = 1.2 * coalesce(var.latency_baseline_ms, 1)
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms["KMSLatencyAboveBaseline"].actions
  ok_actions          = local.alarms["KMSLatencyAboveBaseline"].actions
  tags                = merge(local.tags, { Severity = local.alarms["KMSLatencyAboveBaseline"].severity })
}
