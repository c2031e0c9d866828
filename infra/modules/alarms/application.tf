# Alarms on what the programs themselves report: KMS publishes neither latencies nor errors for ordinary keys, and a
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
  for_each = local.error_alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: ${var.runbook_base_url}/${each.value.runbook}.md"
  namespace           = local.emf_namespace
  metric_name         = each.key
  dimensions          = local.emf_dimensions
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = var.decrypt_errors_threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}

# Low sample counts are evaluated: a warm cache asks KMS far less than a thousand times a minute, and "ignore" would freeze
# the alarm. Three minutes of five keep a single slow call from waking anybody.
resource "aws_cloudwatch_metric_alarm" "latency" {
  alarm_name                            = "${local.name}-KMSHighLatency"
  alarm_description                     = "The slowest hundredth of the decrypts takes over ${var.latency_threshold_ms} ms. Runbook: ${var.runbook_base_url}/kms-high-latency.md"
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
  alarm_actions                         = [aws_sns_topic.alarms.arn]
  ok_actions                            = [aws_sns_topic.alarms.arn]
  tags                                  = local.tags
}

resource "aws_cloudwatch_metric_alarm" "cache_hit_rate" {
  alarm_name          = "${local.name}-KMSCacheHitRate"
  alarm_description   = "Under ${var.cache_hit_rate_threshold} % of the reads were served from the cache for fifteen minutes. Runbook: ${var.runbook_base_url}/cache-hit-rate.md"
  evaluation_periods  = 3
  threshold           = var.cache_hit_rate_threshold
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags

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
  alarm_name          = "${local.name}-HeartbeatMissing"
  alarm_description   = "No sign of life for ten minutes: every other alarm on the application's metrics is blind. Runbook: ${var.runbook_base_url}/heartbeat-missing.md"
  namespace           = local.emf_namespace
  metric_name         = "Heartbeat"
  dimensions          = local.emf_dimensions
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 2
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "volume" {
  for_each = merge(local.volume_alarms, local.audit_volume_alarms)

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: ${var.runbook_base_url}/${each.value.runbook}.md"
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold_metric_id = "band"
  comparison_operator = "GreaterThanUpperThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags

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
