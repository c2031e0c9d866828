data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name         = coalesce(var.name, "${var.application}-${var.environment}")
  region       = split(":", var.key_arns[0])[3]
  all_key_arns = concat(var.key_arns, var.replica_key_arns)
  with_secrets = var.secrets == null ? false : length(var.secrets.secret_arns) > 0

  service_accounts = { for role, accounts in {
    application = concat([var.service_account], var.service_accounts)
    migrator    = concat(var.migrator_service_account[*], var.migrator_service_accounts)
  } : role => accounts if length(accounts) > 0 }
  with_migrator = contains(keys(local.service_accounts), "migrator")

  tags = merge(var.tags, {
    Application = var.application
    Environment = var.environment
    Purpose     = "token-encryption"
  })
}

module "policies" {
  source = "../policy-docs"

  account_id         = data.aws_caller_identity.current.account_id
  partition          = data.aws_partition.current.partition
  region             = local.region
  encryption_context = var.encryption_context
  binding_keys       = var.binding_keys

  use = {
    key_arns               = local.all_key_arns
    kms_direct             = var.kms_direct
    legacy_without_context = var.legacy_without_context
  }

  secrets = local.with_secrets ? var.secrets : null

  additional_application_statements = var.additional_application_statements
  additional_migrator_statements    = var.additional_migrator_statements
}

module "trust" {
  source   = "../policy-docs"
  for_each = local.service_accounts

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  irsa = var.identity != "irsa" ? null : {
    provider_arns    = concat(var.oidc_provider_arn[*], var.oidc_provider_arns)
    service_accounts = each.value
    audience         = var.oidc_audience
  }

  pod_identity = var.identity != "pod-identity" ? null : {
    service_accounts = each.value
    cluster_arns     = concat(var.cluster_arn[*], var.cluster_arns)
  }
}

locals {
  trust = { for role, module in module.trust : role => var.identity == "irsa" ? module.irsa_trust : module.pod_identity_trust }
}

resource "aws_iam_role" "application" {
  name                 = coalesce(var.application_role_name, "${local.name}-application")
  path                 = var.iam_path
  max_session_duration = var.max_session_duration
  description          = "Seals and opens the tokens of ${local.name}"
  assume_role_policy   = local.trust["application"]
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags
}

resource "aws_iam_role_policy" "application" {
  name   = "use-data-keys"
  role   = aws_iam_role.application.id
  policy = module.policies.application_policy
}

resource "aws_iam_role_policy" "secrets" {
  count = local.with_secrets ? 1 : 0

  name   = "read-secrets"
  role   = aws_iam_role.application.id
  policy = module.policies.secrets_reader_policy
}

resource "aws_iam_role" "migrator" {
  count = local.with_migrator ? 1 : 0

  name                 = coalesce(var.migrator_role_name, "${local.name}-migrator")
  path                 = var.iam_path
  max_session_duration = var.max_session_duration
  description          = "Migrates and re-wraps the tokens of ${local.name}"
  assume_role_policy   = local.trust["migrator"]
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags
}

resource "aws_iam_role_policy" "migrator" {
  count = local.with_migrator ? 1 : 0

  name   = "migrate-and-rewrap"
  role   = aws_iam_role.migrator[0].id
  policy = module.policies.migrator_policy
}
