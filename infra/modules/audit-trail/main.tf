data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name             = coalesce(var.name, "${var.application}-${var.environment}")
  trail            = coalesce(var.trail_name, "${local.name}-audit")
  log_group        = coalesce(var.log_group_name, "/aws/cloudtrail/${local.name}-audit")
  role             = coalesce(var.trail_role_name, "${local.name}-audit")
  metric_namespace = "Tokenseal/Audit/${local.name}"

  topic_arn = "arn:${data.aws_partition.current.partition}:sns:${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}:${local.name}-alarms"

  tags = merge(var.tags, {
    Application = var.application
    Environment = var.environment
    Purpose     = "audit"
  })
}

module "policies" {
  source = "../policy-docs"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id

  trail = {
    name      = local.trail
    log_group = local.log_group
    bucket    = coalesce(var.bucket_name, "none")
    auditors  = var.auditors
  }
}

module "patterns" {
  source = "../audit-patterns"

  key_arns         = var.key_arns
  watched_key_arns = length(var.key_arns) == 0 ? [] : concat(var.watched_key_arns, aws_kms_key.trail[*].arn)
  alias_names      = var.alias_names == null ? ["alias/${local.name}"] : var.alias_names
  role_names       = var.role_names == null ? ["${local.name}-application", "${local.name}-migrator"] : var.role_names
  secret_prefixes  = var.secret_prefixes == null ? ["${var.application}/${var.environment}/"] : var.secret_prefixes
  trail_name       = var.with_trail ? local.trail : var.trail_name
  log_group_name   = local.log_group
  log_bucket_names = var.bucket_name[*]
  trail_role_names = concat(var.trail_role_names, var.with_trail ? [local.role] : [])
  alarm_prefix     = "${local.name}-"
  topic_arns       = var.topic_arns == null ? [local.topic_arn] : var.topic_arns
}

resource "aws_kms_key" "trail" {
  count = var.with_trail ? 1 : 0

  description             = "Seals the audit trail of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_in_days
  policy                  = module.policies.trail_key_policy
  tags                    = local.tags
}

resource "aws_kms_alias" "trail" {
  count = var.with_trail ? 1 : 0

  name          = "alias/${local.name}-audit"
  target_key_id = aws_kms_key.trail[0].key_id
}

resource "aws_cloudwatch_log_group" "trail" {
  count = var.with_trail ? 1 : 0

  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.trail[0].arn
  tags              = local.tags
}

resource "aws_iam_role" "trail" {
  count = var.with_trail ? 1 : 0

  name                 = local.role
  path                 = var.iam_path
  max_session_duration = var.max_session_duration
  description          = "Lets the trail write to its log group"
  assume_role_policy   = module.policies.trail_role_trust
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags
}

resource "aws_iam_role_policy" "trail" {
  count = var.with_trail ? 1 : 0

  name   = "write-to-log-group"
  role   = aws_iam_role.trail[0].id
  policy = module.policies.trail_role_policy
}

# No event selector: CloudTrail's default is all reads and writes of the management plane with nothing excluded, KMS's
# Decrypt and GenerateDataKey among them. Selectors that someone puts there show up in the next plan, which takes them away.
resource "aws_cloudtrail" "this" {
  count = var.with_trail ? 1 : 0

  # checkov:skip=CKV_AWS_252:the alarms read the log group; a notification for each log file has no reader
  name                          = local.trail
  s3_bucket_name                = var.bucket_name
  s3_key_prefix                 = var.bucket_key_prefix == "" ? null : var.bucket_key_prefix
  kms_key_id                    = aws_kms_key.trail[0].arn
  cloud_watch_logs_group_arn    = "${aws_cloudwatch_log_group.trail[0].arn}:*"
  cloud_watch_logs_role_arn     = aws_iam_role.trail[0].arn
  is_multi_region_trail         = true
  is_organization_trail         = var.is_organization_trail
  include_global_service_events = true
  enable_log_file_validation    = true
  tags                          = local.tags

  depends_on = [aws_iam_role_policy.trail]
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = module.patterns.filters

  name           = "${local.name}-${each.key}"
  log_group_name = var.with_trail ? aws_cloudwatch_log_group.trail[0].name : local.log_group
  pattern        = each.value.pattern

  metric_transformation {
    name          = each.value.metric
    namespace     = local.metric_namespace
    value         = "1"
    default_value = "0"
  }
}

# These had no count before 0.2.
moved {
  from = aws_kms_key.trail
  to   = aws_kms_key.trail[0]
}

moved {
  from = aws_kms_alias.trail
  to   = aws_kms_alias.trail[0]
}

moved {
  from = aws_cloudwatch_log_group.trail
  to   = aws_cloudwatch_log_group.trail[0]
}

moved {
  from = aws_iam_role.trail
  to   = aws_iam_role.trail[0]
}

moved {
  from = aws_iam_role_policy.trail
  to   = aws_iam_role_policy.trail[0]
}

moved {
  from = aws_cloudtrail.this
  to   = aws_cloudtrail.this[0]
}
