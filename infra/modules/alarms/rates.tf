# The triggers of a rollback as rates: docs/operations/rollout.md. KMSDecryptErrors counts, these compare.
# In each, failures are compared with all operations of their kind, from a minimum number on.
locals {
  rate_alarms = {
    # Every data key that is not in the cache is a call to open it.
    KMSDecryptErrorRate = {
      description = "More than ${var.decrypt_error_rate_threshold} % of the decrypts failed within five minutes."
      runbook     = "kms-decrypt-errors"
      label       = "Failed decrypts (%)"
      failures    = "KMSDecryptErrors"
      all         = "KMSCacheMisses"
      minimum     = 20
      period      = 300
      threshold   = var.decrypt_error_rate_threshold
    }
    TokenRefreshSuccessLow = {
      description = "Fewer than ${var.refresh_success_threshold} % of the token refreshes succeeded within fifteen minutes."
      runbook     = "refresh-success-low"
      label       = "Failed token refreshes (%)"
      failures    = "TokenRefreshErrors"
      all         = "TokenRefreshes"
      minimum     = 20
      period      = 900
      threshold   = 100 - var.refresh_success_threshold
    }
    SecretReadErrorRate = {
      description = "More than ${var.secret_error_rate_threshold} % of the requests for a secret failed within fifteen minutes."
      runbook     = "secret-reads-failing"
      label       = "Failed secret reads (%)"
      failures    = "SecretReadErrors"
      all         = "SecretReads"
      minimum     = 10
      period      = 900
      threshold   = var.secret_error_rate_threshold
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "rate" {
  for_each = { for name, alarm in local.rate_alarms : name => alarm if local.alarms[name].enabled }

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: ${local.runbooks}/${each.value.runbook}.md"
  evaluation_periods  = 1
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms[each.key].actions
  ok_actions          = local.alarms[each.key].actions
  tags                = merge(local.tags, { Severity = local.alarms[each.key].severity })

  metric_query {
    id          = "rate"
    expression  = "IF(FILL(all, 0) >= ${each.value.minimum}, 100 * FILL(failures, 0) / FILL(all, 0), 0)"
    label       = each.value.label
    return_data = true
  }

  metric_query {
    id = "failures"

    metric {
      namespace   = local.emf_namespace
      metric_name = each.value.failures
      dimensions  = local.emf_dimensions
      stat        = "Sum"
      period      = each.value.period
    }
  }

  metric_query {
    id = "all"

    metric {
      namespace   = local.emf_namespace
      metric_name = each.value.all
      dimensions  = local.emf_dimensions
      stat        = "Sum"
      period      = each.value.period
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
