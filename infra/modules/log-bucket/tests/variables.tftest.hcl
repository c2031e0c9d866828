# What is refused before the provider is asked: these runs need no schema of provider 6.
mock_provider "aws" {}

variables {
  bucket_name      = "example-audit-logs"
  trail_name       = "vod-tender-production-audit"
  trail_account_id = "123456789012"
  trail_region     = "eu-central-1"
}

run "a_short_retention_is_refused" {
  command         = plan
  expect_failures = [var.retention_days]
  variables {
    retention_days = 89
  }
}

run "a_lock_longer_than_the_retention_is_refused" {
  command         = plan
  expect_failures = [var.object_lock_days]
  variables {
    retention_days   = 90
    object_lock_days = 91
  }
}

run "a_bad_account_is_refused" {
  command         = plan
  expect_failures = [var.trail_account_id]
  variables {
    trail_account_id = "12345"
  }
}

run "a_bad_bucket_name_is_refused" {
  command         = plan
  expect_failures = [var.bucket_name]
  variables {
    bucket_name = "Audit Logs"
  }
}

run "a_bad_region_is_refused" {
  command         = plan
  expect_failures = [var.trail_region]
  variables {
    trail_region = "Frankfurt"
  }
}

run "a_trail_by_its_arn_is_refused" {
  command         = plan
  expect_failures = [var.trail_name]
  variables {
    trail_name = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/x"
  }
}

run "a_key_by_its_alias_is_refused" {
  command         = plan
  expect_failures = [var.key_arn]
  variables {
    key_arn = "alias/logs"
  }
}
