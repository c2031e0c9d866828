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
  application = "vod-tender"
  environment = "production"
  bucket_name = "example-audit-logs"
}

run "no_event_is_left_out" {
  command = plan

  assert {
    condition     = length(aws_cloudtrail.this[0].event_selector) == 0
    error_message = "CloudTrail's default keeps every event, KMS's reads too: a selector could only leave some out"
  }
  assert {
    condition     = aws_cloudtrail.this[0].is_multi_region_trail && aws_cloudtrail.this[0].enable_log_file_validation
    error_message = "every Region, and logs that cannot be changed unseen"
  }
}

run "logs_are_kept_and_sealed" {
  command = plan

  assert {
    condition     = aws_cloudwatch_log_group.trail[0].retention_in_days >= 90
    error_message = "at least 90 days"
  }
  assert {
    condition     = aws_kms_key.trail[0].enable_key_rotation
    error_message = "the trail's key rotates"
  }
}

run "every_filter_counts_from_zero" {
  command = plan

  assert {
    condition     = alltrue([for filter in aws_cloudwatch_log_metric_filter.this : filter.metric_transformation[0].default_value == "0" && filter.metric_transformation[0].namespace == "Tokenseal/Audit/vod-tender-production"])
    error_message = "a quiet trail is a row of zeros, not an absence"
  }
  assert {
    condition     = toset([for filter in aws_cloudwatch_log_metric_filter.this : filter.metric_transformation[0].name]) == toset(["KMSUnauthorized", "KMSKeyAtRisk", "KMSKeyChanged", "KMSDecryptCalls", "AuditTampering", "SecretReadCalls", "SecretsRotationFailed", "SecretsAtRisk"])
    error_message = "eight metrics"
  }
}

run "a_short_retention_is_refused" {
  command         = plan
  expect_failures = [var.log_retention_days]
  variables {
    log_retention_days = 30
  }
}

run "an_arn_for_a_bucket_is_refused" {
  command         = plan
  expect_failures = [var.bucket_name]
  variables {
    bucket_name = "arn:aws:s3:::example-audit-logs"
  }
}

run "a_short_deletion_window_is_refused" {
  command         = plan
  expect_failures = [var.deletion_window_in_days]
  variables {
    deletion_window_in_days = 3
  }
}

run "a_key_by_its_alias_is_refused" {
  command         = plan
  expect_failures = [var.key_arns]
  variables {
    key_arns = ["alias/vod-tender-production"]
  }
}

run "a_wildcard_auditor_is_refused" {
  command         = plan
  expect_failures = [var.auditors]
  variables {
    auditors = ["arn:aws:iam::123456789012:role/*"]
  }
}

run "a_trail_that_exists_only_gets_filters" {
  command = plan

  variables {
    with_trail     = false
    bucket_name    = null
    trail_name     = "organization"
    log_group_name = "aws-controltower/CloudTrailLogs"
    key_arns       = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
  }

  assert {
    condition     = length(aws_cloudtrail.this) + length(aws_kms_key.trail) + length(aws_cloudwatch_log_group.trail) + length(aws_iam_role.trail) == 0
    error_message = "no second trail, log group, key or role"
  }
  assert {
    condition     = alltrue([for filter in aws_cloudwatch_log_metric_filter.this : filter.log_group_name == "aws-controltower/CloudTrailLogs"])
    error_message = "the filters are on the log group that exists"
  }
}

run "every_event_is_pinned_to_what_is_ours" {
  command = plan

  variables {
    key_arns   = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
    with_trail = false

    log_group_name = "audit"
    trail_name     = "audit"
  }

  assert {
    condition     = strcontains(aws_cloudwatch_log_metric_filter.this["SecretsAtRisk"].pattern, "vod-tender/production/*") && strcontains(aws_cloudwatch_log_metric_filter.this["KMSKeyAtRisk"].pattern, "*11111111-2222-3333-4444-555555555555")
    error_message = "our secrets and our keys"
  }
  assert {
    condition     = anytrue([for filter in aws_cloudwatch_log_metric_filter.this : strcontains(filter.pattern, "arn:aws:sns:eu-central-1:123456789012:vod-tender-production-alarms")])
    error_message = "our topic"
  }
}

run "the_trail_has_its_path_boundary_and_organisation" {
  command = plan

  variables {
    bucket_key_prefix     = "trails/vod-tender"
    is_organization_trail = true
    iam_path              = "/tokenseal/"
    permissions_boundary  = "arn:aws:iam::123456789012:policy/boundary"
    log_retention_days    = 2557
    name                  = "vod-tender-production-eu-west-1"
  }

  assert {
    condition     = aws_cloudtrail.this[0].s3_key_prefix == "trails/vod-tender" && aws_cloudtrail.this[0].is_organization_trail
    error_message = "the path and the organisation reach the trail"
  }
  assert {
    condition     = aws_iam_role.trail[0].path == "/tokenseal/" && aws_iam_role.trail[0].permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    error_message = "the path and the boundary reach the role"
  }
  assert {
    condition     = aws_iam_role.trail[0].name == "vod-tender-production-eu-west-1-audit" && aws_cloudwatch_log_group.trail[0].name == "/aws/cloudtrail/vod-tender-production-eu-west-1-audit"
    error_message = "a second Region has names of its own"
  }
  assert {
    condition     = aws_cloudwatch_log_group.trail[0].retention_in_days == 2557
    error_message = "seven years"
  }
}

run "the_trails_role_has_its_name_and_session_length" {
  command = plan

  variables {
    trail_role_name      = "cloudtrail-to-logs"
    max_session_duration = 7200
  }

  assert {
    condition     = aws_iam_role.trail[0].name == "cloudtrail-to-logs" && aws_iam_role.trail[0].max_session_duration == 7200
    error_message = "the name and the session length reach the role"
  }
  assert {
    condition     = anytrue([for filter in aws_cloudwatch_log_metric_filter.this : strcontains(filter.pattern, "cloudtrail-to-logs")])
    error_message = "changes to the policies of the role by its own name count"
  }
}

run "a_role_name_that_iam_refuses_is_refused" {
  command         = plan
  expect_failures = [var.trail_role_name]
  variables {
    trail_role_name = "cloudtrail/to/logs"
  }
}

run "a_session_of_half_an_hour_is_refused" {
  command         = plan
  expect_failures = [var.max_session_duration]
  variables {
    max_session_duration = 1800
  }
}

run "filters_without_a_log_group_are_refused" {
  command         = plan
  expect_failures = [var.with_trail]
  variables {
    with_trail = false
  }
}

run "a_trail_without_a_bucket_is_refused" {
  command         = plan
  expect_failures = [var.bucket_name]
  variables {
    bucket_name = null
  }
}

run "a_path_without_slashes_is_refused" {
  command         = plan
  expect_failures = [var.iam_path]
  variables {
    iam_path = "tokenseal"
  }
}
