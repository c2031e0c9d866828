mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  application = "vod-tender"
  environment = "production"

  multi_region = true
}

run "a_short_rotation_period_is_refused" {
  command         = plan
  expect_failures = [var.rotation_period_in_days]
  variables {
    rotation_period_in_days = 89
  }
}

run "a_long_rotation_period_is_refused" {
  command         = plan
  expect_failures = [var.rotation_period_in_days]
  variables {
    rotation_period_in_days = 2561
  }
}

run "an_alias_without_its_prefix_is_refused" {
  command         = plan
  expect_failures = [var.alias_name]
  variables {
    alias_name = "vod-tender-production"
  }
}

run "a_short_deletion_window_is_refused" {
  command         = plan
  expect_failures = [var.deletion_window_in_days]
  variables {
    deletion_window_in_days = 6
  }
}

run "an_empty_context_is_refused" {
  command         = plan
  expect_failures = [var.encryption_context]
  variables {
    encryption_context = {}
  }
}

run "a_wildcard_role_is_refused" {
  command         = plan
  expect_failures = [var.migrator_roles]
  variables {
    migrator_roles = ["arn:aws:iam::123456789012:role/*"]
  }
}

run "the_key_is_a_primary_with_its_own_rotation_period" {
  command = plan

  variables {
    rotation_period_in_days = 180
    replica_regions         = ["eu-central-1", "eu-west-1"]
  }

  assert {
    condition     = aws_kms_key.this.multi_region && aws_kms_key.this.rotation_period_in_days == 180
    error_message = "multi-Region, rotated every 180 days"
  }
  assert {
    condition = [for statement in jsondecode(aws_kms_key.this.policy).Statement : [statement.Sid, statement.Condition.StringNotEquals] if statement.Effect == "Deny"] == [
      ["ReplicasOnlyInTheseRegions", { "kms:ReplicaRegion" = ["eu-central-1", "eu-west-1"] }],
      ["PrimaryOnlyInTheseRegions", { "kms:PrimaryRegion" = ["eu-central-1", "eu-west-1"] }],
    ]
    error_message = "replicas and the primary stay in the listed Regions"
  }
}

run "no_region_at_all_is_refused" {
  command         = plan
  expect_failures = [var.replica_regions]
  variables {
    replica_regions = []
  }
}
