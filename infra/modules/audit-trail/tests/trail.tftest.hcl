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
    condition     = length(aws_cloudtrail.this.event_selector) == 0
    error_message = "CloudTrail's default keeps every event, KMS's reads too: a selector could only leave some out"
  }
  assert {
    condition     = aws_cloudtrail.this.is_multi_region_trail && aws_cloudtrail.this.enable_log_file_validation
    error_message = "every Region, and logs that cannot be changed unseen"
  }
}

run "logs_are_kept_and_sealed" {
  command = plan

  assert {
    condition     = aws_cloudwatch_log_group.trail.retention_in_days >= 90
    error_message = "at least 90 days"
  }
  assert {
    condition     = aws_kms_key.trail.enable_key_rotation
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
    condition     = length(aws_cloudwatch_log_metric_filter.this) == 8
    error_message = "eight filters"
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
