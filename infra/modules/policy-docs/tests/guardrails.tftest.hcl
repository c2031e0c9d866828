variables {
  account_id = "123456789012"
  region     = "eu-central-1"
}

run "only_break_glass_roles_stop_the_key_and_policy_and_cancellation_stay_open" {
  command = plan

  variables {
    key = {
      break_glass_roles = ["arn:aws:iam::123456789012:role/break-glass"]
      replica_regions   = ["eu-west-1"]
    }
  }

  assert {
    condition     = [for statement in jsondecode(output.key_policy).Statement : statement.Sid] == ["AccountAndItsIamPolicies", "OnlyBreakGlassStopsTheKey", "ReplicasOnlyInTheseRegions", "PrimaryOnlyInTheseRegions"]
    error_message = "the account's statement stays first"
  }
  assert {
    condition = alltrue([for statement in jsondecode(output.key_policy).Statement :
      length(setintersection(toset(flatten([statement.Action])), toset(["kms:PutKeyPolicy", "kms:CancelKeyDeletion", "kms:EnableKey"]))) == 0
    if statement.Effect == "Deny"])
    error_message = "a mistake can be corrected, and a key saved"
  }
}

run "china_has_its_own_endings" {
  command = plan

  variables {
    partition = "aws-cn"
    region    = "cn-north-1"
    secrets   = { secret_arns = ["arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:vod-tender/production/*"], key_arn = "x" }
    trail     = { name = "audit", log_group = "/audit", bucket = "example-audit-logs" }
  }

  assert {
    condition     = jsondecode(output.secrets_key_policy).Statement[1].Condition.StringNotEquals["kms:ViaService"] == "secretsmanager.cn-north-1.amazonaws.com.cn"
    error_message = "the endpoint in the denial"
  }
  assert {
    condition     = [for statement in jsondecode(output.trail_key_policy).Statement : statement.Principal.Service if statement.Sid == "LogGroup"] == ["logs.cn-north-1.amazonaws.com.cn"]
    error_message = "the principal for logs"
  }
  assert {
    condition     = [for statement in jsondecode(output.trail_key_policy).Statement : statement.Principal.Service if statement.Sid == "TrailSealsItsLogs"] == ["cloudtrail.amazonaws.com"]
    error_message = "other principals end as everywhere"
  }
}

run "govcloud_and_the_newer_partitions_are_known" {
  command = plan

  variables {
    partition = "aws-eusc"
    region    = "eusc-de-east-1"
    secrets   = { secret_arns = ["arn:aws-eusc:secretsmanager:eusc-de-east-1:123456789012:secret:vod-tender/production/*"], key_arn = "x" }
  }

  assert {
    condition     = jsondecode(output.secrets_reader_policy).Statement[3].Condition.StringEquals["kms:ViaService"] == "secretsmanager.eusc-de-east-1.amazonaws.eu"
    error_message = "the endpoint of the European Sovereign Cloud"
  }
}

run "the_endpoints_let_only_our_own_pass" {
  command = plan

  variables {
    endpoint = { key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/1"], secret_arns = ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:vod-tender/*"] }
  }

  assert {
    condition     = alltrue([for statement in concat(jsondecode(output.kms_endpoint_policy).Statement, jsondecode(output.secrets_endpoint_policy).Statement) : statement.Condition.StringEquals["aws:PrincipalAccount"] == "123456789012"])
    error_message = "only this account's principals"
  }
}

run "own_statements_of_any_shape_are_added" {
  command = plan

  variables {
    use = { key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"] }
    additional_application_statements = [
      { Effect = "Allow", Action = "sqs:SendMessage", Resource = "arn:aws:sqs:eu-central-1:123456789012:jobs" },
      { Sid = "Deny", Effect = "Deny", Action = ["s3:*"], Resource = ["*"], Condition = { Bool = { "aws:SecureTransport" = "false" } } },
    ]
  }

  assert {
    condition     = length(jsondecode(output.application_policy).Statement) == 4 && !strcontains(output.migrator_policy, "sqs:SendMessage")
    error_message = "the application's, and not the migrator's"
  }
}

run "an_unknown_partition_is_refused" {
  command         = plan
  expect_failures = [var.partition]
  variables {
    partition = "aws-mars"
  }
}

run "a_wildcard_break_glass_role_is_refused" {
  command         = plan
  expect_failures = [var.guardrails]
  variables {
    guardrails = { break_glass_roles = ["*"] }
  }
}

run "guardrails_without_a_way_out_are_refused" {
  command         = plan
  expect_failures = [var.guardrails]
  variables {
    guardrails = { break_glass_roles = [] }
  }
}

run "an_endpoint_for_no_key_is_refused" {
  command         = plan
  expect_failures = [var.endpoint]
  variables {
    endpoint = { key_arns = [] }
  }
}

run "an_identity_statement_in_a_resource_policy_is_refused" {
  command         = plan
  expect_failures = [var.additional_key_statements]
  variables {
    additional_key_statements = [{ Effect = "Allow", Action = "kms:*", Resource = "*" }]
  }
}
