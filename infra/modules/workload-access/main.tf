data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name            = "${var.application}-${var.environment}"
  region          = split(":", var.key_arns[0])[3]
  all_key_arns    = concat(var.key_arns, var.replica_key_arns)
  with_migrator   = var.migrator_service_account != null
  with_secrets    = var.secrets != null
  service_account = { for role, account in { application = var.service_account, migrator = var.migrator_service_account } : role => account if account != null }

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

  secrets = var.secrets
}

module "trust" {
  source   = "../policy-docs"
  for_each = local.service_account

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  irsa = var.identity != "irsa" ? null : {
    provider_arn     = var.oidc_provider_arn
    service_accounts = [each.value]
  }

  pod_identity = var.identity != "pod-identity" ? null : {
    namespace       = split("/", each.value)[0]
    service_account = split("/", each.value)[1]
    cluster_arn     = var.cluster_arn
  }
}

locals {
  trust = { for role, module in module.trust : role => var.identity == "irsa" ? module.irsa_trust : module.pod_identity_trust }
}

resource "aws_iam_role" "application" {
  name                 = "${local.name}-application"
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

  name                 = "${local.name}-migrator"
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
