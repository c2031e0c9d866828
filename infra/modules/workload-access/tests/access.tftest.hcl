mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  application       = "vod-tender"
  environment       = "production"
  key_arns          = ["arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555", "arn:aws:kms:eu-west-1:123456789012:key/66666666-7777-8888-9999-000000000000"]
  oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/ABC"
  service_account   = "vod-tender/vod-tender"
}

run "the_outputs_are_the_programs_variables" {
  command = plan

  assert {
    condition = output.environment == {
      AWS_REGION         = "eu-central-1"
      ENCRYPTION_CONTEXT = "Application=vod-tender,Purpose=oauth-token"
      ENVIRONMENT        = "production"
      KMS_ALLOWED_KEYS   = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555,arn:aws:kms:eu-west-1:123456789012:key/66666666-7777-8888-9999-000000000000"
      KMS_KEY_ID         = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    }
    error_message = "the environment is what the programs read"
  }
  assert {
    condition     = length(aws_iam_role.migrator) == 0 && length(aws_iam_role_policy.secrets) == 0
    error_message = "what is not asked for is not made"
  }
}

run "replicas_come_after_the_key" {
  command = plan

  variables {
    key_arns         = ["arn:aws:kms:eu-central-1:123456789012:key/mrk-1111", "arn:aws:kms:eu-central-1:123456789012:key/2222"]
    replica_key_arns = ["arn:aws:kms:eu-west-1:123456789012:key/mrk-1111"]
  }

  assert {
    condition     = output.environment["KMS_KEY_ID"] == "arn:aws:kms:eu-central-1:123456789012:key/mrk-1111,arn:aws:kms:eu-west-1:123456789012:key/mrk-1111"
    error_message = "the key and its replicas, nearest first; no predecessor wraps"
  }
  assert {
    condition     = output.environment["AWS_REGION"] == "eu-central-1" && length(split(",", output.environment["KMS_ALLOWED_KEYS"])) == 3
    error_message = "all of them open"
  }
  assert {
    condition     = strcontains(aws_iam_role_policy.application.policy, "arn:aws:kms:eu-west-1:123456789012:key/mrk-1111")
    error_message = "the application may use the replica"
  }
}

run "two_keys_of_one_region_are_refused" {
  command         = plan
  expect_failures = [var.replica_key_arns]
  variables {
    replica_key_arns = ["arn:aws:kms:eu-central-1:123456789012:key/99999999-7777-8888-9999-000000000000"]
  }
}

run "an_alias_of_a_replica_is_refused" {
  command         = plan
  expect_failures = [var.replica_key_arns]
  variables {
    replica_key_arns = ["arn:aws:kms:eu-west-2:123456789012:alias/vod-tender-production"]
  }
}

run "one_service_account_becomes_the_role" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role.application.assume_role_policy).Statement[0].Condition.StringEquals == {
      "oidc.eks.eu-central-1.amazonaws.com/id/ABC:aud" = "sts.amazonaws.com"
      "oidc.eks.eu-central-1.amazonaws.com/id/ABC:sub" = ["system:serviceaccount:vod-tender:vod-tender"]
    }
    error_message = "both sub and aud are pinned"
  }
}

run "the_migrator_is_a_role_of_its_own" {
  command = plan

  variables {
    migrator_service_account = "vod-tender/token-migrator"
  }

  assert {
    condition     = strcontains(aws_iam_role_policy.migrator[0].policy, "kms:ReEncryptFrom") && !strcontains(aws_iam_role_policy.application.policy, "ReEncrypt")
    error_message = "only the migrator re-wraps"
  }
  assert {
    condition     = strcontains(aws_iam_role.migrator[0].assume_role_policy, "system:serviceaccount:vod-tender:token-migrator")
    error_message = "the migrator's service account becomes its role"
  }
}

run "pod_identity_pins_namespace_and_service_account" {
  command = plan

  variables {
    identity          = "pod-identity"
    oidc_provider_arn = null
  }

  assert {
    condition     = jsondecode(aws_iam_role.application.assume_role_policy).Statement[0].Principal.Service == "pods.eks.amazonaws.com"
    error_message = "the Pod Identity agent assumes the role"
  }
}

run "an_alias_is_refused" {
  command         = plan
  expect_failures = [var.key_arns]
  variables {
    key_arns = ["arn:aws:kms:eu-central-1:123456789012:alias/vod-tender-production"]
  }
}

run "no_key_is_refused" {
  command         = plan
  expect_failures = [var.key_arns]
  variables {
    key_arns = []
  }
}

run "an_empty_context_is_refused" {
  command         = plan
  expect_failures = [var.encryption_context]
  variables {
    encryption_context = {}
  }
}

run "irsa_without_a_provider_is_refused" {
  command         = plan
  expect_failures = [var.identity]
  variables {
    oidc_provider_arn = null
  }
}

run "a_wildcard_service_account_is_refused" {
  command         = plan
  expect_failures = [var.service_account]
  variables {
    service_account = "vod-tender/*"
  }
}

run "a_shared_service_account_is_refused" {
  command         = plan
  expect_failures = [var.migrator_service_account]
  variables {
    migrator_service_account = "vod-tender/vod-tender"
  }
}

run "a_boundary_that_is_no_policy_is_refused" {
  command         = plan
  expect_failures = [var.permissions_boundary]
  variables {
    permissions_boundary = "arn:aws:iam::123456789012:role/boundary"
  }
}

run "a_provider_by_its_address_is_refused" {
  command         = plan
  expect_failures = [var.oidc_provider_arn]
  variables {
    oidc_provider_arn = "oidc.eks.eu-central-1.amazonaws.com/id/ABC"
  }
}

run "a_cluster_by_its_name_is_refused" {
  command         = plan
  expect_failures = [var.cluster_arn]
  variables {
    cluster_arn = "production"
  }
}

run "secrets_that_name_none_add_no_policy" {
  command = plan

  variables {
    secrets = { secret_arns = [], key_arn = "arn:aws:kms:eu-central-1:123456789012:key/1" }
  }

  assert {
    condition     = length(aws_iam_role_policy.secrets) == 0
    error_message = "there is nothing to read"
  }
}

run "several_clusters_and_service_accounts_become_one_role" {
  command = plan

  variables {
    oidc_provider_arns = ["arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/DEF"]
    service_accounts   = ["workers/vod-tender-worker"]
    oidc_audience      = "sts.example.com"
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role.application.assume_role_policy).Statement : [statement.Sid, statement.Condition.StringEquals]] == [
      ["ServiceAccounts", {
        "oidc.eks.eu-central-1.amazonaws.com/id/ABC:aud" = "sts.example.com"
        "oidc.eks.eu-central-1.amazonaws.com/id/ABC:sub" = ["system:serviceaccount:vod-tender:vod-tender", "system:serviceaccount:workers:vod-tender-worker"]
      }],
      ["ServiceAccounts2", {
        "oidc.eks.eu-west-1.amazonaws.com/id/DEF:aud" = "sts.example.com"
        "oidc.eks.eu-west-1.amazonaws.com/id/DEF:sub" = ["system:serviceaccount:vod-tender:vod-tender", "system:serviceaccount:workers:vod-tender-worker"]
      }],
    ]
    error_message = "each cluster has its own statement, with every service account"
  }
}

run "pod_identity_takes_several_clusters_and_never_mixes_namespaces" {
  command = plan

  variables {
    identity          = "pod-identity"
    oidc_provider_arn = null
    service_accounts  = ["workers/vod-tender-worker"]
    cluster_arn       = "arn:aws:eks:eu-central-1:123456789012:cluster/one"
    cluster_arns      = ["arn:aws:eks:eu-central-1:123456789012:cluster/two"]
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role.application.assume_role_policy).Statement : statement.Condition.StringEquals] == [
      {
        "aws:RequestTag/eks-cluster-arn"            = ["arn:aws:eks:eu-central-1:123456789012:cluster/one", "arn:aws:eks:eu-central-1:123456789012:cluster/two"]
        "aws:RequestTag/kubernetes-namespace"       = "vod-tender"
        "aws:RequestTag/kubernetes-service-account" = "vod-tender"
      },
      {
        "aws:RequestTag/eks-cluster-arn"            = ["arn:aws:eks:eu-central-1:123456789012:cluster/one", "arn:aws:eks:eu-central-1:123456789012:cluster/two"]
        "aws:RequestTag/kubernetes-namespace"       = "workers"
        "aws:RequestTag/kubernetes-service-account" = "vod-tender-worker"
      },
    ]
    error_message = "one statement for each service account"
  }
}

run "roles_have_names_path_boundary_and_session_length" {
  command = plan

  variables {
    name                     = "vod-tender-production-eu-west-1"
    migrator_service_account = "vod-tender/token-migrator"
    migrator_role_name       = "tokens-migrator"
    iam_path                 = "/tokenseal/"
    permissions_boundary     = "arn:aws:iam::123456789012:policy/boundary"
    max_session_duration     = 7200
  }

  assert {
    condition     = aws_iam_role.application.name == "vod-tender-production-eu-west-1-application" && aws_iam_role.migrator[0].name == "tokens-migrator"
    error_message = "a second Region has names of its own"
  }
  assert {
    condition     = alltrue([for role in [aws_iam_role.application, aws_iam_role.migrator[0]] : role.path == "/tokenseal/" && role.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary" && role.max_session_duration == 7200])
    error_message = "both roles"
  }
}

run "another_word_for_the_environment_names_the_programs_one" {
  command = plan

  variables {
    environment         = "qa"
    program_environment = "staging"
  }

  assert {
    condition     = output.environment["ENVIRONMENT"] == "staging" && aws_iam_role.application.tags["Environment"] == "qa"
    error_message = "the programs know three words, tags any"
  }
}

run "own_statements_are_added" {
  command = plan

  variables {
    additional_application_statements = [{ Sid = "Queue", Effect = "Allow", Action = "sqs:SendMessage", Resource = "arn:aws:sqs:eu-central-1:123456789012:jobs" }]
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.application.policy).Statement[2].Sid == "Queue"
    error_message = "the caller's statement comes after the module's"
  }
}

run "another_word_alone_is_refused" {
  command         = plan
  expect_failures = [var.program_environment]
  variables {
    environment = "qa"
  }
}

run "a_short_session_is_refused" {
  command         = plan
  expect_failures = [var.max_session_duration]
  variables {
    max_session_duration = 60
  }
}

run "a_service_account_that_is_both_is_refused" {
  command         = plan
  expect_failures = [var.migrator_service_account]
  variables {
    service_accounts          = ["workers/worker"]
    migrator_service_accounts = ["workers/worker"]
  }
}
