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
    condition     = aws_cloudwatch_metric_alarm.latency.extended_statistic == "p99" && aws_cloudwatch_metric_alarm.latency.threshold == 500
    error_message = "p99 over 500 ms"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.latency.evaluate_low_sample_count_percentiles == "evaluate"
    error_message = "a warm cache has few samples, and they count"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.audit["KMSUnauthorized"].threshold == 0 && aws_cloudwatch_metric_alarm.audit["KMSUnauthorized"].statistic == "Sum"
    error_message = "any denied request"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.cache_hit_rate.threshold == 90
    error_message = "hit rate under 90 %"
  }
}

run "silence_wakes_through_the_heartbeat_only" {
  command = plan

  assert {
    condition     = aws_cloudwatch_metric_alarm.heartbeat.treat_missing_data == "breaching"
    error_message = "a dead program must not look healthy"
  }
  assert {
    condition = alltrue([for alarm in concat(
      values(aws_cloudwatch_metric_alarm.errors), values(aws_cloudwatch_metric_alarm.audit), values(aws_cloudwatch_metric_alarm.volume),
      [aws_cloudwatch_metric_alarm.latency, aws_cloudwatch_metric_alarm.cache_hit_rate],
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
      values(aws_cloudwatch_metric_alarm.errors), values(aws_cloudwatch_metric_alarm.audit), values(aws_cloudwatch_metric_alarm.volume),
      [aws_cloudwatch_metric_alarm.latency, aws_cloudwatch_metric_alarm.cache_hit_rate, aws_cloudwatch_metric_alarm.heartbeat],
    ) : can(regex("Runbook: https://runbooks.example.com/[a-z-]+\\.md$", alarm.alarm_description))])
    error_message = "each description ends with the runbook's address"
  }
}

run "the_topic_is_sealed" {
  command = plan

  assert {
    condition     = strcontains(aws_kms_key.topic.policy, "cloudwatch.amazonaws.com")
    error_message = "CloudWatch may use the topic's key"
  }
  assert {
    condition     = strcontains(aws_sns_topic_policy.alarms.policy, "aws:SourceAccount")
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
