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
  secrets = {
    "database"        = { description = "The database's credentials", kind = "database" }
    "session-signing" = { description = "Signs sessions", kind = "signing-key" }
    "twitch-oauth"    = { description = "The OAuth client's secret" }
  }
  rotation_lambda_arns = {
    "database"        = "arn:aws:lambda:eu-central-1:123456789012:function:rotate-database"
    "session-signing" = "arn:aws:lambda:eu-central-1:123456789012:function:rotate-signing"
  }
}

run "schedules_follow_the_kind" {
  command = plan

  assert {
    condition     = aws_secretsmanager_secret_rotation.this["database"].rotation_rules[0].automatically_after_days == 30
    error_message = "30 days for database credentials"
  }
  assert {
    condition     = aws_secretsmanager_secret_rotation.this["session-signing"].rotation_rules[0].automatically_after_days == 90
    error_message = "90 days for signing keys"
  }
  assert {
    condition     = length(aws_secretsmanager_secret_rotation.this) == 2 && length(aws_config_config_rule.overdue) == 0
    error_message = "no schedule where none is asked for"
  }
}

run "names_and_permissions" {
  command = plan

  assert {
    condition     = aws_secretsmanager_secret.this["database"].name == "vod-tender/production/database"
    error_message = "the prefix is <application>/<environment>/"
  }
  assert {
    condition     = aws_lambda_permission.rotation["database"].principal == "secretsmanager.amazonaws.com" && aws_lambda_permission.rotation["database"].source_account == "123456789012"
    error_message = "only this account's Secrets Manager calls the function"
  }
  assert {
    condition     = aws_kms_key.secrets.enable_key_rotation && aws_secretsmanager_secret_policy.this["database"].block_public_policy
    error_message = "a key of their own, and never public"
  }
  assert {
    condition     = strcontains(aws_kms_key.secrets.policy, "kms:ViaService")
    error_message = "the key is used through Secrets Manager only"
  }
}

run "overdue_and_failed_rotations_are_told" {
  command = plan

  variables {
    with_alarms       = true
    with_config_rules = true
    alarm_topic_arn   = "arn:aws:sns:eu-central-1:123456789012:vod-tender-production-alarms"
    audit_namespace   = "Tokenseal/Audit/vod-tender-production"
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.rotation_failed) == 1 && length(aws_config_config_rule.overdue) == 2
    error_message = "one alarm, and one watch for each schedule"
  }
  assert {
    condition     = jsondecode(aws_config_config_rule.overdue["30"].input_parameters).maxDaysSinceRotation == "32"
    error_message = "two days of grace"
  }
}

run "a_name_may_end_with_a_hyphen_and_six_characters" {
  command = plan

  variables {
    secrets              = { "db-master" = { description = "x" } }
    rotation_lambda_arns = {}
  }

  assert {
    condition     = aws_secretsmanager_secret.this["db-master"].name == "vod-tender/production/db-master"
    error_message = "the name is the caller's"
  }
}

run "no_secret_is_a_set_of_secrets_too" {
  command = plan

  variables {
    secrets              = {}
    rotation_lambda_arns = {}
  }

  assert {
    condition     = length(aws_secretsmanager_secret.this) == 0 && output.reader_policy == null
    error_message = "the key is there, and nothing to read"
  }
}

run "the_roles_are_allowed_what_they_are_listed_for" {
  command = plan

  variables {
    reader_roles   = ["arn:aws:iam::123456789012:role/vod-tender-production-application"]
    operator_roles = ["arn:aws:iam::123456789012:role/operator"]
    rotation_roles = ["arn:aws:iam::123456789012:role/rotation"]
  }

  assert {
    condition = { for statement in jsondecode(aws_secretsmanager_secret_policy.this["database"].policy).Statement : statement.Sid => statement.Principal.AWS if statement.Effect == "Allow" } == {
      ReadersRead      = ["arn:aws:iam::123456789012:role/vod-tender-production-application"]
      ReadersDescribe  = ["arn:aws:iam::123456789012:role/vod-tender-production-application"]
      OperatorsOperate = ["arn:aws:iam::123456789012:role/operator"]
      FunctionsRotate  = ["arn:aws:iam::123456789012:role/rotation"]
    }
    error_message = "the secrets' policy allows each role its own"
  }
  assert {
    condition = { for statement in jsondecode(aws_kms_key.secrets.policy).Statement : statement.Sid => statement.Principal.AWS if statement.Effect == "Allow" && statement.Sid != "AccountAndItsIamPolicies" } == {
      ReadersThroughSecretsManager = ["arn:aws:iam::123456789012:role/vod-tender-production-application"]
      WritersThroughSecretsManager = ["arn:aws:iam::123456789012:role/operator", "arn:aws:iam::123456789012:role/rotation"]
    }
    error_message = "so does the key's"
  }
}

run "an_unknown_kind_is_refused" {
  command         = plan
  expect_failures = [var.secrets]
  variables {
    secrets              = { "db" = { description = "x", kind = "password" } }
    rotation_lambda_arns = {}
  }
}

run "a_long_rotation_period_is_refused" {
  command         = plan
  expect_failures = [var.secrets]
  variables {
    secrets              = { "db" = { description = "x", rotation_days = 400 } }
    rotation_lambda_arns = {}
  }
}

run "a_function_for_nothing_is_refused" {
  command         = plan
  expect_failures = [var.rotation_lambda_arns]
  variables {
    rotation_lambda_arns = { "nowhere" = "arn:aws:lambda:eu-central-1:123456789012:function:rotate" }
  }
}

run "a_function_without_a_schedule_is_refused" {
  command         = plan
  expect_failures = [var.rotation_lambda_arns]
  variables {
    rotation_lambda_arns = { "twitch-oauth" = "arn:aws:lambda:eu-central-1:123456789012:function:rotate" }
  }
}

run "a_prefix_without_its_slash_is_refused" {
  command         = plan
  expect_failures = [var.prefix]
  variables {
    prefix = "vod-tender/production"
  }
}

run "alarms_without_a_topic_are_refused" {
  command         = plan
  expect_failures = [var.with_alarms]
  variables {
    with_alarms = true
  }
}

run "config_rules_without_a_topic_are_refused" {
  command         = plan
  expect_failures = [var.with_config_rules]
  variables {
    with_config_rules = true
  }
}

run "secrets_for_nobody_are_refused" {
  command         = plan
  expect_failures = [var.exclusive]
  variables {
    exclusive = true
  }
}

run "a_short_recovery_window_is_refused" {
  command         = plan
  expect_failures = [var.recovery_window_in_days]
  variables {
    recovery_window_in_days = 0
  }
}

run "a_topic_by_its_name_is_refused" {
  command         = plan
  expect_failures = [var.alarm_topic_arn]
  variables {
    alarm_topic_arn = "alarms"
  }
}

run "a_foreign_namespace_is_refused" {
  command         = plan
  expect_failures = [var.audit_namespace]
  variables {
    audit_namespace = "AWS/KMS"
  }
}

run "a_wildcard_reader_is_refused" {
  command         = plan
  expect_failures = [var.reader_roles]
  variables {
    reader_roles = ["arn:aws:iam::123456789012:role/*"]
  }
}
