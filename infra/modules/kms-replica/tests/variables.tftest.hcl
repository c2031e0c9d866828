mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  application     = "vod-tender"
  environment     = "production"
  primary_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/mrk-11111111111111111111111111111111"
}

run "a_single_region_key_is_refused" {
  command         = plan
  expect_failures = [var.primary_key_arn]
  variables {
    primary_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  }
}

run "an_alias_of_aws_is_refused" {
  command         = plan
  expect_failures = [var.alias_name]
  variables {
    alias_name = "alias/aws/vod-tender"
  }
}

run "a_long_deletion_window_is_refused" {
  command         = plan
  expect_failures = [var.deletion_window_in_days]
  variables {
    deletion_window_in_days = 31
  }
}

run "a_wildcard_role_is_refused" {
  command         = plan
  expect_failures = [var.application_roles]
  variables {
    application_roles = ["arn:aws:iam::123456789012:role/*"]
  }
}

run "a_tag_of_aws_is_refused" {
  command         = plan
  expect_failures = [var.tags]
  variables {
    tags = { "aws:owner" = "me" }
  }
}

run "a_contained_replica_stays_disabled" {
  command = plan

  variables {
    is_enabled            = false
    break_glass_role_arns = ["arn:aws:iam::123456789012:role/break-glass"]
  }

  assert {
    condition     = aws_kms_replica_key.this.enabled == false
    error_message = "each Region's key is contained by itself"
  }
  assert {
    condition     = strcontains(aws_kms_replica_key.this.policy, "OnlyBreakGlassStopsTheKey")
    error_message = "the replica's policy has the denial too"
  }
}
