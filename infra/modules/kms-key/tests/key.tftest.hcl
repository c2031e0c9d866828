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
}

run "the_defaults_are_safe" {
  command = plan

  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "rotation is on"
  }
  assert {
    condition     = aws_kms_key.this.deletion_window_in_days == 30
    error_message = "a deletion can be called off for 30 days"
  }
  assert {
    condition     = aws_kms_alias.this.name == "alias/vod-tender-production"
    error_message = "the alias is alias/<application>-<environment>"
  }
  assert {
    condition     = aws_kms_key.this.tags == tomap({ Application = "vod-tender", Environment = "production", Purpose = "token-encryption" })
    error_message = "the three tags are there"
  }
  assert {
    condition     = jsondecode(aws_kms_key.this.policy).Statement[0].Principal.AWS == "arn:aws:iam::123456789012:root"
    error_message = "the account keeps its statement: without it IAM policies have no effect"
  }
}

run "own_tags_do_not_replace_ours" {
  command = plan

  variables {
    tags = { Environment = "somewhere", Team = "platform" }
  }

  assert {
    condition     = aws_kms_key.this.tags["Environment"] == "production" && aws_kms_key.this.tags["Team"] == "platform"
    error_message = "the module's tags win over the caller's"
  }
}

run "an_alias_without_its_prefix_is_refused" {
  command         = plan
  expect_failures = [var.alias_name]
  variables {
    alias_name = "vod-tender-production"
  }
}

run "an_alias_of_aws_is_refused" {
  command         = plan
  expect_failures = [var.alias_name]
  variables {
    alias_name = "alias/aws/vod-tender"
  }
}

run "a_short_deletion_window_is_refused" {
  command         = plan
  expect_failures = [var.deletion_window_in_days]
  variables {
    deletion_window_in_days = 6
  }
}

run "a_long_deletion_window_is_refused" {
  command         = plan
  expect_failures = [var.deletion_window_in_days]
  variables {
    deletion_window_in_days = 31
  }
}

run "an_empty_context_is_refused" {
  command         = plan
  expect_failures = [var.encryption_context]
  variables {
    encryption_context = {}
  }
}

run "an_unknown_environment_is_refused" {
  command         = plan
  expect_failures = [var.environment]
  variables {
    environment = "live"
  }
}

run "a_bad_application_is_refused" {
  command         = plan
  expect_failures = [var.application]
  variables {
    application = "Vod Tender"
  }
}

run "an_exclusive_key_for_nobody_is_refused" {
  command         = plan
  expect_failures = [var.exclusive]
  variables {
    exclusive = true
  }
}

run "a_wildcard_role_is_refused" {
  command         = plan
  expect_failures = [var.application_roles]
  variables {
    application_roles = ["arn:aws:iam::123456789012:role/*"]
  }
}

run "the_account_root_is_no_administrator" {
  command         = plan
  expect_failures = [var.administrators]
  variables {
    administrators = ["arn:aws:iam::123456789012:root"]
  }
}

run "a_wildcard_binding_key_is_refused" {
  command         = plan
  expect_failures = [var.binding_keys]
  variables {
    binding_keys = ["*"]
  }
}

run "a_tag_of_aws_is_refused" {
  command         = plan
  expect_failures = [var.tags]
  variables {
    tags = { "aws:owner" = "me" }
  }
}
