mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

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

run "several_trails_write_each_to_its_own_path" {
  command = plan

  variables {
    trail_name       = null
    trail_account_id = null
    trail_region     = null
    trails = [
      { name = "vod-tender-production-audit", account_id = "123456789012", region = "eu-central-1" },
      { name = "vod-tender-staging-audit", account_id = "210987654321", region = "eu-west-1", key_prefix = "staging" },
      { name = "organization", account_id = "111122223333", region = "eu-central-1", organization_id = "o-a1b2c3d4e5" },
    ]
  }

  assert {
    condition = { for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement : statement.Sid => [statement.Condition.StringEquals["aws:SourceArn"], flatten([statement.Resource])] if startswith(statement.Sid, "TrailWrites") } == {
      TrailWritesItsLogs  = ["arn:aws:cloudtrail:eu-central-1:123456789012:trail/vod-tender-production-audit", ["arn:aws:s3:::example-audit-logs/AWSLogs/123456789012/*"]]
      TrailWritesItsLogs2 = ["arn:aws:cloudtrail:eu-west-1:210987654321:trail/vod-tender-staging-audit", ["arn:aws:s3:::example-audit-logs/staging/AWSLogs/210987654321/*"]]
      TrailWritesItsLogs3 = ["arn:aws:cloudtrail:eu-central-1:111122223333:trail/organization", ["arn:aws:s3:::example-audit-logs/AWSLogs/111122223333/*", "arn:aws:s3:::example-audit-logs/AWSLogs/o-a1b2c3d4e5/*"]]
    }
    error_message = "no trail writes where another does"
  }
}

run "one_trail_is_the_short_form" {
  command = plan

  assert {
    condition     = jsondecode(aws_s3_bucket_policy.this.policy).Statement[1].Resource == "arn:aws:s3:::example-audit-logs/AWSLogs/123456789012/*"
    error_message = "the policy of one trail"
  }
}

run "no_trail_is_refused" {
  command         = plan
  expect_failures = [var.trails]
  variables {
    trail_name       = null
    trail_account_id = null
    trail_region     = null
  }
}
