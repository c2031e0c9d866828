variables {
  account_id = "123456789012"
  region     = "eu-central-1"
}

run "the_account_is_never_locked_out" {
  command = plan

  variables {
    key = {
      administrators    = ["arn:aws:iam::123456789012:role/key-administrator"]
      application_roles = ["arn:aws:iam::123456789012:role/vod-tender-production-application"]
      migrator_roles    = ["arn:aws:iam::123456789012:role/vod-tender-production-migrator"]
      exclusive         = true
    }
  }

  assert {
    condition     = jsondecode(output.key_policy).Statement[0] == { Sid = "AccountAndItsIamPolicies", Effect = "Allow", Principal = { AWS = "arn:aws:iam::123456789012:root" }, Action = "kms:*", Resource = "*" }
    error_message = "the root statement comes first, and whole"
  }
  assert {
    condition     = alltrue([for statement in jsondecode(output.key_policy).Statement : !contains(flatten([statement.Action]), "kms:PutKeyPolicy") if statement.Effect == "Deny"])
    error_message = "no denial covers the policy itself"
  }
  assert {
    condition     = [for statement in jsondecode(output.key_policy).Statement : statement.Sid] == ["AccountAndItsIamPolicies", "Administration", "UseDataKeys", "DescribeKey", "Rewrap", "NobodyElseUsesIt"]
    error_message = "administrators, users by role, and nobody else"
  }
  assert {
    condition = alltrue([for statement in jsondecode(output.key_policy).Statement :
      length(setintersection(toset(statement.Action), toset(["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateGrant"]))) == 0
    if statement.Sid == "Administration"])
    error_message = "administrators neither use the key nor hand it on"
  }
}

run "a_key_alone_needs_only_the_account" {
  command = plan

  variables {
    key = {}
  }

  assert {
    condition     = length(jsondecode(output.key_policy).Statement) == 1
    error_message = "what is not asked for is not written"
  }
}

run "the_application_is_bound_to_its_context" {
  command = plan

  variables {
    use = { key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"] }
  }

  assert {
    condition = jsondecode(output.application_policy).Statement == [
      {
        Sid      = "UseDataKeys"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
        Condition = {
          StringEquals                = { "kms:EncryptionContext:Application" = "vod-tender", "kms:EncryptionContext:Purpose" = "oauth-token" }
          "ForAllValues:StringEquals" = { "kms:EncryptionContextKeys" = ["Application", "Purpose", "channel", "column", "provider", "table"] }
        }
      },
      {
        Sid      = "DescribeKey"
        Effect   = "Allow"
        Action   = ["kms:DescribeKey"]
        Resource = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
      },
    ]
    error_message = "two statements: DescribeKey knows no context"
  }
  assert {
    condition     = !strcontains(output.application_policy, "kms:ViaService") && !strcontains(output.application_policy, "kms:Encrypt\"")
    error_message = "no ViaService, which would deny everything, and no Encrypt unless asked for"
  }
  assert {
    condition     = output.context_variable == "Application=vod-tender,Purpose=oauth-token"
    error_message = "ENCRYPTION_CONTEXT says the same"
  }
}

run "the_migrator_rewraps_under_the_context" {
  command = plan

  variables {
    use = { key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"] }
  }

  assert {
    condition = alltrue([for statement in jsondecode(output.migrator_policy).Statement :
      can(statement.Condition.StringEquals["kms:EncryptionContext:Application"]) if statement.Sid != "DescribeKey"
    ])
    error_message = "every cryptographic action is bound"
  }
  assert {
    condition     = strcontains(output.migrator_policy, "kms:ReEncryptFrom") && strcontains(output.migrator_policy, "kms:ReEncryptTo")
    error_message = "rewrapping needs both"
  }
}

run "legacy_rights_are_asked_for" {
  command = plan

  variables {
    use = {
      key_arns               = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
      kms_direct             = true
      legacy_without_context = true
    }
  }

  assert {
    condition     = strcontains(output.application_policy, "\"kms:Encrypt\"")
    error_message = "kms_direct adds Encrypt"
  }
  assert {
    condition     = jsondecode(output.application_policy).Statement[2].Condition == { Null = { "kms:EncryptionContextKeys" = "true" } } && jsondecode(output.application_policy).Statement[2].Action == ["kms:Decrypt"]
    error_message = "legacy_without_context opens, and only what has no context at all"
  }
}

run "another_profile_has_its_own_context" {
  command = plan

  variables {
    encryption_context = { service = "pulseplan", data_type = "auth_token" }
    binding_keys       = ["table", "column", "id", "user_id"]
    use                = { key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"] }
  }

  assert {
    condition     = jsondecode(output.application_policy).Statement[0].Condition["ForAllValues:StringEquals"]["kms:EncryptionContextKeys"] == ["column", "data_type", "id", "service", "table", "user_id"]
    error_message = "the allowed keys are the context's and the binding's"
  }
}

run "secrets_are_read_through_their_service" {
  command = plan

  variables {
    secrets = {
      secret_arns       = ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:vod-tender/production/database-??????"]
      key_arn           = "arn:aws:kms:eu-central-1:123456789012:key/66666666-7777-8888-9999-000000000000"
      reader_roles      = ["arn:aws:iam::123456789012:role/vod-tender-production-application"]
      rotation_function = "arn:aws:lambda:eu-central-1:123456789012:function:rotate-database"
      exclusive         = true
    }
  }

  assert {
    condition     = jsondecode(output.secrets_reader_policy).Statement[3].Condition.StringEquals["kms:ViaService"] == "secretsmanager.eu-central-1.amazonaws.com"
    error_message = "the key opens through Secrets Manager only"
  }
  assert {
    condition     = jsondecode(output.rotation_function_policy).Statement[0].Action == ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]
    error_message = "what a rotation takes, and no more"
  }
  assert {
    condition     = can(jsondecode(output.rotation_function_policy).Statement[2].Condition.StringLike["kms:EncryptionContext:SecretARN"])
    error_message = "bound to these secrets"
  }
  assert {
    condition     = jsondecode(output.secret_resource_policy).Statement[1].Effect == "Deny"
    error_message = "exclusive denies the others"
  }
}

run "one_service_account_is_trusted" {
  command = plan

  variables {
    irsa         = { provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/ABC", service_accounts = ["vod-tender/vod-tender"] }
    pod_identity = { namespace = "vod-tender", service_account = "vod-tender", cluster_arn = "arn:aws:eks:eu-central-1:123456789012:cluster/main" }
  }

  assert {
    condition     = jsondecode(output.irsa_trust).Statement[0].Condition.StringEquals == { "oidc.eks.eu-central-1.amazonaws.com/id/ABC:aud" = "sts.amazonaws.com", "oidc.eks.eu-central-1.amazonaws.com/id/ABC:sub" = ["system:serviceaccount:vod-tender:vod-tender"] }
    error_message = "sub and aud, both by equality"
  }
  assert {
    condition     = jsondecode(output.pod_identity_trust).Statement[0].Condition.StringEquals == { "aws:RequestTag/kubernetes-namespace" = "vod-tender", "aws:RequestTag/kubernetes-service-account" = "vod-tender", "aws:RequestTag/eks-cluster-arn" = "arn:aws:eks:eu-central-1:123456789012:cluster/main" }
    error_message = "namespace, service account and cluster"
  }
  assert {
    condition     = jsondecode(output.pod_identity_trust).Statement[0].Action == ["sts:AssumeRole", "sts:TagSession"]
    error_message = "Pod Identity tags its sessions"
  }
}

run "the_trail_writes_to_its_own_place" {
  command = plan

  variables {
    trail = { name = "vod-tender-production-audit", log_group = "/aws/cloudtrail/vod-tender-production-audit", bucket = "example-audit-logs" }
  }

  assert {
    condition     = jsondecode(output.trail_bucket_policy).Statement[1].Resource == "arn:aws:s3:::example-audit-logs/AWSLogs/123456789012/*"
    error_message = "only below this account's path"
  }
  assert {
    condition     = jsondecode(output.trail_bucket_policy).Statement[1].Condition.StringEquals["aws:SourceArn"] == "arn:aws:cloudtrail:eu-central-1:123456789012:trail/vod-tender-production-audit"
    error_message = "only this trail"
  }
}

run "an_empty_context_is_refused" {
  command         = plan
  expect_failures = [var.encryption_context]
  variables {
    encryption_context = {}
  }
}

run "an_empty_value_is_refused" {
  command         = plan
  expect_failures = [var.encryption_context]
  variables {
    encryption_context = { Application = "vod-tender", Purpose = " " }
  }
}

run "a_wildcard_context_is_refused" {
  command         = plan
  expect_failures = [var.encryption_context]
  variables {
    encryption_context = { Application = "*" }
  }
}

run "a_reserved_context_name_is_refused" {
  command         = plan
  expect_failures = [var.encryption_context]
  variables {
    encryption_context = { Application = "vod-tender", table = "oauth_tokens" }
  }
}

run "a_wildcard_binding_key_is_refused" {
  command         = plan
  expect_failures = [var.binding_keys]
  variables {
    binding_keys = ["*"]
  }
}

run "an_alias_in_resource_is_refused" {
  command         = plan
  expect_failures = [var.use]
  variables {
    use = { key_arns = ["arn:aws:kms:eu-central-1:123456789012:alias/vod-tender-production"] }
  }
}

run "a_wildcard_key_is_refused" {
  command         = plan
  expect_failures = [var.use]
  variables {
    use = { key_arns = ["*"] }
  }
}

run "a_wildcard_principal_is_refused" {
  command         = plan
  expect_failures = [var.key]
  variables {
    key = { application_roles = ["*"] }
  }
}

run "a_key_for_nobody_is_refused" {
  command         = plan
  expect_failures = [var.key]
  variables {
    key = { exclusive = true }
  }
}

run "a_wildcard_service_account_is_refused" {
  command         = plan
  expect_failures = [var.irsa]
  variables {
    irsa = { provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/ABC", service_accounts = ["vod-tender/*"] }
  }
}

run "a_bad_account_is_refused" {
  command         = plan
  expect_failures = [var.account_id]
  variables {
    account_id = "12345"
  }
}

run "a_wildcard_in_the_middle_of_a_secret_is_refused" {
  command         = plan
  expect_failures = [var.secrets]
  variables {
    secrets = { secret_arns = ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:*/production/db"], key_arn = "x" }
  }
}
