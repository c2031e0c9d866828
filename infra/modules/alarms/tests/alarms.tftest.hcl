mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { id = "eu-central-1" }
  }
}

variables {
  application     = "vod-tender"
  environment     = "production"
  audit_namespace = "Tokenseal/Audit/vod-tender-production"
}

run "thresholds_are_as_promised" {
  command = plan

  assert {
    condition     = aws_cloudwatch_metric_alarm.errors["KMSDecryptErrors"].threshold == 5 && aws_cloudwatch_metric_alarm.errors["KMSDecryptErrors"].period == 300 && aws_cloudwatch_metric_alarm.errors["KMSDecryptErrors"].comparison_operator == "GreaterThanThreshold"
    error_message = "more than 5 decrypt errors in 5 minutes"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.latency[0].extended_statistic == "p99" && aws_cloudwatch_metric_alarm.latency[0].threshold == 500
    error_message = "p99 over 500 ms"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.latency[0].evaluate_low_sample_count_percentiles == "evaluate"
    error_message = "a warm cache has few samples, and they count"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.audit["KMSUnauthorized"].threshold == 0 && aws_cloudwatch_metric_alarm.audit["KMSUnauthorized"].statistic == "Sum"
    error_message = "any denied request"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.cache_hit_rate[0].threshold == 90
    error_message = "hit rate under 90 %"
  }
}

run "silence_wakes_through_the_heartbeat_only" {
  command = plan

  assert {
    condition     = aws_cloudwatch_metric_alarm.heartbeat[0].treat_missing_data == "breaching"
    error_message = "a dead program must not look healthy"
  }
  assert {
    condition = alltrue([for alarm in concat(
      values(aws_cloudwatch_metric_alarm.errors), values(aws_cloudwatch_metric_alarm.audit), values(aws_cloudwatch_metric_alarm.volume), values(aws_cloudwatch_metric_alarm.rate),
      [aws_cloudwatch_metric_alarm.latency[0], aws_cloudwatch_metric_alarm.cache_hit_rate[0]],
    ) : alarm.treat_missing_data == "notBreaching"])
    error_message = "no other alarm goes off for want of data"
  }
}

run "without_a_trail_there_are_no_alarms_on_it" {
  command = plan

  variables {
    audit_namespace   = null
    with_audit_alarms = false
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.audit) == 0 && length(aws_cloudwatch_metric_alarm.volume) == 2
    error_message = "only what the application itself reports"
  }
}

run "every_alarm_names_its_runbook" {
  command = plan

  variables {
    runbook_base_url = "https://runbooks.example.com"
  }

  assert {
    condition = alltrue([for alarm in concat(
      values(aws_cloudwatch_metric_alarm.errors), values(aws_cloudwatch_metric_alarm.audit), values(aws_cloudwatch_metric_alarm.volume), values(aws_cloudwatch_metric_alarm.rate),
      [aws_cloudwatch_metric_alarm.latency[0], aws_cloudwatch_metric_alarm.cache_hit_rate[0], aws_cloudwatch_metric_alarm.heartbeat[0]],
    ) : can(regex("Runbook: https://runbooks.example.com/[a-z-]+\\.md$", alarm.alarm_description))])
    error_message = "each description ends with the runbook's address"
  }
}

run "the_topic_is_sealed" {
  command = plan

  assert {
    condition     = strcontains(aws_kms_key.topic[0].policy, "cloudwatch.amazonaws.com")
    error_message = "CloudWatch may use the topic's key"
  }
  assert {
    condition     = strcontains(aws_sns_topic_policy.alarms[0].policy, "aws:SourceAccount")
    error_message = "only this account's alarms are published"
  }
}

run "keys_that_do_not_rotate_are_told" {
  command = plan

  variables {
    with_config_rules = true
    key_arns          = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
  }

  assert {
    condition     = length(aws_config_config_rule.rotation) == 1 && length(aws_cloudwatch_event_target.rotation) == 1
    error_message = "the rule and the way to the topic"
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.rotation[0].event_pattern).detail.resourceId == ["11111111-2222-3333-4444-555555555555"]
    error_message = "about our key only"
  }
}

run "plain_http_is_refused" {
  command         = plan
  expect_failures = [var.subscriptions]
  variables {
    subscriptions = { pager = { protocol = "http", endpoint = "http://pager.example.com" } }
  }
}

run "audit_alarms_without_a_trail_are_refused" {
  command         = plan
  expect_failures = [var.with_audit_alarms]
  variables {
    audit_namespace = null
  }
}

run "a_foreign_namespace_is_refused" {
  command         = plan
  expect_failures = [var.audit_namespace]
  variables {
    audit_namespace = "AWS/KMS"
  }
}

run "rates_that_are_no_percentage_are_refused" {
  command         = plan
  expect_failures = [var.refresh_success_threshold, var.secret_error_rate_threshold]
  variables {
    refresh_success_threshold   = 100
    secret_error_rate_threshold = 0
  }
}

run "a_negative_threshold_is_refused" {
  command         = plan
  expect_failures = [var.decrypt_errors_threshold]
  variables {
    decrypt_errors_threshold = -1
  }
}

run "a_hit_rate_over_100_is_refused" {
  command         = plan
  expect_failures = [var.cache_hit_rate_threshold]
  variables {
    cache_hit_rate_threshold = 101
  }
}

run "no_latency_is_refused" {
  command         = plan
  expect_failures = [var.latency_threshold_ms]
  variables {
    latency_threshold_ms = 0
  }
}

run "a_useless_band_is_refused" {
  command         = plan
  expect_failures = [var.anomaly_band_width]
  variables {
    anomaly_band_width = 0
  }
}

run "a_slash_after_the_runbooks_is_refused" {
  command         = plan
  expect_failures = [var.runbook_base_url]
  variables {
    runbook_base_url = "https://runbooks.example.com/"
  }
}

run "no_minimum_of_reads_is_refused" {
  command         = plan
  expect_failures = [var.cache_minimum_reads]
  variables {
    cache_minimum_reads = 0
  }
}

run "a_short_deletion_window_is_refused" {
  command         = plan
  expect_failures = [var.deletion_window_in_days]
  variables {
    deletion_window_in_days = 3
  }
}

run "config_rules_without_a_key_are_refused" {
  command         = plan
  expect_failures = [var.key_arns]
  variables {
    with_config_rules = true
  }
}

run "a_tag_of_aws_is_refused" {
  command         = plan
  expect_failures = [var.tags]
  variables {
    tags = { "aws:owner" = "me" }
  }
}

run "each_alarm_has_a_switch_a_severity_and_a_topic" {
  command = plan

  variables {
    topic_arns = { critical = "arn:aws:sns:eu-central-1:123456789012:pager", warning = "arn:aws:sns:eu-central-1:123456789012:channel" }
    alarms = {
      HeartbeatMissing = { enabled = false }
      KMSDecryptErrors = { enabled = false }
      AuditTampering   = { enabled = false }
      KMSHighLatency   = { severity = "critical" }
      KMSUnauthorized  = { topic_arn = "arn:aws:sns:eu-central-1:123456789012:security" }
    }
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.heartbeat) == 0 && keys(aws_cloudwatch_metric_alarm.errors) == ["KMSEncryptErrors"] && !contains(keys(aws_cloudwatch_metric_alarm.audit), "AuditTampering")
    error_message = "what is switched off is not made"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.latency[0].alarm_actions == toset(["arn:aws:sns:eu-central-1:123456789012:pager"]) && aws_cloudwatch_metric_alarm.latency[0].tags["Severity"] == "critical"
    error_message = "a severity of the caller's"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.cache_hit_rate[0].alarm_actions == toset(["arn:aws:sns:eu-central-1:123456789012:channel"])
    error_message = "a warning goes to the topic for warnings"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.audit["KMSUnauthorized"].alarm_actions == toset(["arn:aws:sns:eu-central-1:123456789012:security"])
    error_message = "a topic of its own"
  }
  assert {
    condition     = length(aws_sns_topic.alarms) + length(aws_kms_key.topic) == 0
    error_message = "no topic of the module's own, which no alarm would use"
  }
}

run "one_severity_keeps_the_modules_topic" {
  command = plan

  variables {
    topic_arns = { critical = "arn:aws:sns:eu-central-1:123456789012:pager" }
  }

  assert {
    condition     = length(aws_sns_topic.alarms) == 1
    error_message = "warnings go to the module's topic"
  }
}

run "the_programs_are_given_the_dimensions_that_the_alarms_look_at" {
  command = plan

  variables {
    metric_dimensions = { Application = "pulseplan", Environment = "qa-eu" }
  }

  assert {
    condition     = output.environment["EMF_DIMENSIONS"] == "Application=pulseplan,Environment=qa-eu"
    error_message = "the programs' setting"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.heartbeat[0].dimensions == tomap({ Application = "pulseplan", Environment = "qa-eu" })
    error_message = "the alarms"
  }
  assert {
    condition     = strcontains(aws_cloudwatch_dashboard.this["kms"].dashboard_body, "\"Application\",\"pulseplan\",\"Environment\",\"qa-eu\"")
    error_message = "the dashboards"
  }
}

run "an_unknown_alarm_is_refused" {
  command         = plan
  expect_failures = [var.alarms]
  variables {
    alarms = { KMSDecryptError = { enabled = false } }
  }
}

run "an_unknown_severity_is_refused" {
  command         = plan
  expect_failures = [var.alarms]
  variables {
    alarms = { KMSDecryptErrors = { severity = "page" } }
  }
}

run "a_topic_for_an_unknown_severity_is_refused" {
  command         = plan
  expect_failures = [var.topic_arns]
  variables {
    topic_arns = { page = "arn:aws:sns:eu-central-1:123456789012:pager" }
  }
}

run "a_dimension_with_a_comma_is_refused" {
  command         = plan
  expect_failures = [var.metric_dimensions]
  variables {
    metric_dimensions = { Application = "a,b" }
  }
}

run "a_runbook_that_cannot_be_opened_is_refused" {
  command         = plan
  expect_failures = [var.runbook_base_url]
  variables {
    runbook_base_url = "docs/runbooks"
  }
}

run "rates_of_a_rollback_are_as_promised" {
  command = plan
  variables {
    latency_baseline_ms = 10
  }

  assert {
    condition     = { for name, alarm in aws_cloudwatch_metric_alarm.rate : name => alarm.threshold } == { KMSDecryptErrorRate = 5, TokenRefreshSuccessLow = 5, SecretReadErrorRate = 5 }
    error_message = "over 5 % of the decrypts or secret reads fail, under 95 % of the refreshes succeed"
  }
  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.rate : alarm.comparison_operator == "GreaterThanThreshold"])
    error_message = "a rate goes off above its threshold"
  }
  assert {
    condition     = length(output.alarm_names) == length(distinct(output.alarm_names)) && alltrue([for name in keys(aws_cloudwatch_metric_alarm.rate) : contains(output.alarm_names, "vod-tender-production-${name}")])
    error_message = "the output names the alarms on rates"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.latency_above_baseline[0].threshold == 12 && aws_cloudwatch_metric_alarm.latency_above_baseline[0].evaluation_periods == 3
    error_message = "20 % above the baseline for 15 minutes"
  }
}

run "without_a_baseline_no_alarm_compares_with_it" {
  command = plan

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.latency_above_baseline) == 0
    error_message = "no baseline, no alarm"
  }
}

run "a_negative_baseline_is_refused" {
  command         = plan
  expect_failures = [var.latency_baseline_ms]
  variables {
    latency_baseline_ms = -1
  }
}

run "a_rate_above_all_is_refused" {
  command         = plan
  expect_failures = [var.decrypt_error_rate_threshold]
  variables {
    decrypt_error_rate_threshold = 100
  }
}
