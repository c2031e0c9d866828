# Alarms on the programs' own metrics: KMS publishes neither latencies nor errors for ordinary keys, and a
# failure on our side of the wire (a damaged value, a timeout) never reaches CloudTrail.
locals {
  error_alarms = {
    KMSDecryptErrors = {
      description = "More than ${var.decrypt_errors_threshold} decrypts failed within five minutes."
      runbook     = "kms-decrypt-errors"
    }
    KMSEncryptErrors = {
      description = "More than ${var.decrypt_errors_threshold} encrypts failed within five minutes: tokens are not being stored."
      runbook     = "kms-encrypt-errors"
    }
  }

  volume_alarms = {
    SecretReadsAnomalous = {
      description = "The application reads far more secrets than it usually does."
      runbook     = "secret-reads-anomalous"
      namespace   = local.emf_namespace
      metric      = "SecretReads"
      statistic   = "Sum"
      dimensions  = local.emf_dimensions
    }
    # Every data key that is not in the cache is a decrypt. The latencies do not count them: a line holds at most a hundred.
    KMSDecryptsAnomalous = {
      description = "The application decrypts far more than it usually does."
      runbook     = "kms-decrypts-anomalous"
      namespace   = local.emf_namespace
      metric      = "KMSCacheMisses"
      statistic   = "Sum"
      dimensions  = local.emf_dimensions
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = { for name, alarm in local.error_alarms : name => alarm if local.alarms[name].enabled }

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: ${local.runbooks}/${each.value.runbook}.md"
  namespace           = local.emf_namespace
  metric_name         = each.key
  dimensions          = local.emf_dimensions
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = var.decrypt_errors_threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms[each.key].actions
  ok_actions          = local.alarms[each.key].actions
  tags                = merge(local.tags, { Severity = local.alarms[each.key].severity })
}

# Low sample counts are evaluated: a warm cache asks KMS far less than a thousand times a minute, and "ignore" would freeze
# the alarm. Three minutes of five keep a single slow call from setting it off.
resource "aws_cloudwatch_metric_alarm" "latency" {
  count = local.alarms["KMSHighLatency"].enabled ? 1 : 0

  alarm_name                            = "${local.name}-KMSHighLatency"
  alarm_description                     = "The slowest hundredth of the decrypts takes over ${var.latency_threshold_ms} ms. Runbook: ${local.runbooks}/kms-high-latency.md"
  namespace                             = local.emf_namespace
  metric_name                           = "KMSDecryptLatency"
  dimensions                            = local.emf_dimensions
  extended_statistic                    = "p99"
  period                                = 60
  evaluation_periods                    = 5
  datapoints_to_alarm                   = 3
  threshold                             = var.latency_threshold_ms
  comparison_operator                   = "GreaterThanThreshold"
  evaluate_low_sample_count_percentiles = "evaluate"
  treat_missing_data                    = "notBreaching"
  alarm_actions                         = local.alarms["KMSHighLatency"].actions
  ok_actions                            = local.alarms["KMSHighLatency"].actions
  tags                                  = merge(local.tags, { Severity = local.alarms["KMSHighLatency"].severity })
}

resource "aws_cloudwatch_metric_alarm" "cache_hit_rate" {
  count = local.alarms["KMSCacheHitRate"].enabled ? 1 : 0

  alarm_name          = "${local.name}-KMSCacheHitRate"
  alarm_description   = "Under ${var.cache_hit_rate_threshold} % of the reads were served from the cache for fifteen minutes. Runbook: ${local.runbooks}/cache-hit-rate.md"
  evaluation_periods  = 3
  threshold           = var.cache_hit_rate_threshold
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms["KMSCacheHitRate"].actions
  ok_actions          = local.alarms["KMSCacheHitRate"].actions
  tags                = merge(local.tags, { Severity = local.alarms["KMSCacheHitRate"].severity })

  metric_query {
    id          = "rate"
    expression  = "IF(FILL(hits, 0) + FILL(misses, 0) >= ${var.cache_minimum_reads}, 100 * FILL(hits, 0) / (FILL(hits, 0) + FILL(misses, 0)), 100)"
    label       = "Cache hit rate (%)"
    return_data = true
  }

  metric_query {
    id = "hits"

    metric {
      namespace   = local.emf_namespace
      metric_name = "KMSCacheHits"
      dimensions  = local.emf_dimensions
      stat        = "Sum"
      period      = 300
    }
  }

  metric_query {
    id = "misses"

    metric {
      namespace   = local.emf_namespace
      metric_name = "KMSCacheMisses"
      dimensions  = local.emf_dimensions
      stat        = "Sum"
      period      = 300
    }
  }
}

# The one alarm that silence sets off: a dead program must not look like a healthy one.
resource "aws_cloudwatch_metric_alarm" "heartbeat" {
  count = local.alarms["HeartbeatMissing"].enabled ? 1 : 0

  alarm_name          = "${local.name}-HeartbeatMissing"
  alarm_description   = "No sign of life for ten minutes: every other alarm on the application's metrics is blind. Runbook: ${local.runbooks}/heartbeat-missing.md"
  namespace           = local.emf_namespace
  metric_name         = "Heartbeat"
  dimensions          = local.emf_dimensions
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 2
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = local.alarms["HeartbeatMissing"].actions
  ok_actions          = local.alarms["HeartbeatMissing"].actions
  tags                = merge(local.tags, { Severity = local.alarms["HeartbeatMissing"].severity })
}

resource "aws_cloudwatch_metric_alarm" "volume" {
  for_each = { for name, alarm in merge(local.volume_alarms, local.audit_volume_alarms) : name => alarm if local.alarms[name].enabled }

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: ${local.runbooks}/${each.value.runbook}.md"
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold_metric_id = "band"
  comparison_operator = "GreaterThanUpperThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms[each.key].actions
  ok_actions          = local.alarms[each.key].actions
  tags                = merge(local.tags, { Severity = local.alarms[each.key].severity })

  metric_query {
    id          = "band"
    expression  = "ANOMALY_DETECTION_BAND(volume, ${var.anomaly_band_width})"
    label       = "Usual"
    return_data = true
  }

  metric_query {
    id          = "volume"
    return_data = true

    metric {
      namespace   = each.value.namespace
      metric_name = each.value.metric
      dimensions  = each.value.dimensions
      stat        = each.value.statistic
      period      = 300
    }
  }
}

# These had no count before 0.2.
moved {
  from = aws_cloudwatch_metric_alarm.latency
  to   = aws_cloudwatch_metric_alarm.latency[0]
}

moved {
  from = aws_cloudwatch_metric_alarm.cache_hit_rate
  to   = aws_cloudwatch_metric_alarm.cache_hit_rate[0]
}

moved {
  from = aws_cloudwatch_metric_alarm.heartbeat
  to   = aws_cloudwatch_metric_alarm.heartbeat[0]
}
