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
    condition     = aws_kms_alias.this[0].name == "alias/vod-tender-production"
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

run "an_environment_that_is_no_name_is_refused" {
  command         = plan
  expect_failures = [var.environment]
  variables {
    environment = "Live!"
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

run "a_contained_key_stays_disabled" {
  command = plan

  variables {
    is_enabled = false
  }

  assert {
    condition     = aws_kms_key.this.is_enabled == false && aws_kms_key.this.enable_key_rotation
    error_message = "the key is disabled, and its rotation setting is kept"
  }
}

run "the_rotation_period_is_the_callers" {
  command = plan

  variables {
    rotation_period_in_days = 180
  }

  assert {
    condition     = aws_kms_key.this.rotation_period_in_days == 180
    error_message = "the period reaches the key"
  }
}

run "a_key_has_several_aliases_and_its_own_alias_may_point_elsewhere" {
  command = plan

  variables {
    aliases             = ["alias/tokens", "alias/vod-tender/tokens"]
    alias_target_key_id = "11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = keys(aws_kms_alias.more) == ["alias/tokens", "alias/vod-tender/tokens"]
    error_message = "each further alias is made"
  }
  assert {
    condition     = aws_kms_alias.this[0].target_key_id == "11111111-2222-3333-4444-555555555555"
    error_message = "the alias points to the key that the caller names"
  }
}

run "the_alias_can_live_in_its_own_module" {
  command = plan

  variables {
    with_alias = false
  }

  assert {
    condition     = length(aws_kms_alias.this) == 0 && output.alias_name == null
    error_message = "no alias is made here"
  }
}

run "only_break_glass_roles_stop_the_key" {
  command = plan

  variables {
    break_glass_role_arns = ["arn:aws:iam::123456789012:role/break-glass"]
  }

  assert {
    condition = [for statement in jsondecode(aws_kms_key.this.policy).Statement : statement if statement.Effect == "Deny"] == [{
      Sid       = "OnlyBreakGlassStopsTheKey"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = ["kms:DisableKey", "kms:ReplicateKey", "kms:ScheduleKeyDeletion", "kms:UpdatePrimaryRegion"]
      Resource  = "*"
      Condition = { StringNotEquals = { "aws:PrincipalArn" = ["arn:aws:iam::123456789012:role/break-glass"] } }
    }]
    error_message = "the four actions and no others are denied to all but the listed roles"
  }
}

run "own_statements_are_added" {
  command = plan

  variables {
    additional_policy_statements = [
      { Sid = "Backup", Effect = "Allow", Principal = { AWS = "arn:aws:iam::123456789012:role/backup" }, Action = "kms:DescribeKey", Resource = "*" },
      { Sid = "Old", Effect = "Deny", Principal = { AWS = "*" }, Action = ["kms:Encrypt"], Resource = "*", Condition = { Bool = { "aws:SecureTransport" = "false" } } },
    ]
  }

  assert {
    condition     = [for statement in jsondecode(aws_kms_key.this.policy).Statement : statement.Sid] == ["AccountAndItsIamPolicies", "Backup", "Old"]
    error_message = "the caller's statements come after the module's"
  }
}

run "a_second_region_has_its_own_name" {
  command = plan

  variables {
    name = "vod-tender-production-eu-west-1"
  }

  assert {
    condition     = aws_kms_alias.this[0].name == "alias/vod-tender-production-eu-west-1"
    error_message = "name replaces <application>-<environment>"
  }
}

run "a_statement_without_a_principal_is_refused" {
  command         = plan
  expect_failures = [var.additional_policy_statements]
  variables {
    additional_policy_statements = [{ Effect = "Allow", Action = "kms:*", Resource = "*" }]
  }
}

run "a_wildcard_break_glass_role_is_refused" {
  command         = plan
  expect_failures = [var.break_glass_role_arns]
  variables {
    break_glass_role_arns = ["*"]
  }
}

run "a_short_rotation_period_is_refused" {
  command         = plan
  expect_failures = [var.rotation_period_in_days]
  variables {
    rotation_period_in_days = 89
  }
}

run "a_further_alias_of_aws_is_refused" {
  command         = plan
  expect_failures = [var.aliases]
  variables {
    aliases = ["alias/aws/vod-tender"]
  }
}

run "a_bad_name_is_refused" {
  command         = plan
  expect_failures = [var.name]
  variables {
    name = "Vod Tender"
  }
}
