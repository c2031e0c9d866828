data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name      = coalesce(var.name, "${var.application}-${var.environment}")
  topic     = "${local.name}-alarms"
  topic_arn = "arn:${data.aws_partition.current.partition}:sns:${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}:${local.topic}"

  # The metrics that the programs write in CloudWatch's embedded metric format.
  emf_namespace  = "Tokenseal"
  emf_dimensions = coalesce(var.metric_dimensions, { Application = var.application, Environment = var.environment })

  runbooks = coalesce(var.runbook_base_url, "docs/runbooks")

  # Each severity's topic: one that the caller has, or the module's own.
  with_topic = !(contains(keys(var.topic_arns), "critical") && contains(keys(var.topic_arns), "warning"))
  topics     = { for severity in ["critical", "warning"] : severity => contains(keys(var.topic_arns), severity) ? var.topic_arns[severity] : aws_sns_topic.alarms[0].arn }

  severities = {
    KMSDecryptErrors         = "critical"
    KMSEncryptErrors         = "critical"
    KMSHighLatency           = "warning"
    KMSDecryptErrorRate      = "critical"
    KMSLatencyAboveBaseline  = "warning"
    TokenRefreshSuccessLow   = "critical"
    SecretReadErrorRate      = "warning"
    KMSCacheHitRate          = "warning"
    HeartbeatMissing         = "critical"
    SecretReadsAnomalous     = "warning"
    KMSDecryptsAnomalous     = "warning"
    SecretReadCallsAnomalous = "warning"
    KMSDecryptCallsAnomalous = "warning"
    KMSUnauthorized          = "critical"
    KMSKeyAtRisk             = "critical"
    KMSKeyChanged            = "warning"
    AuditTampering           = "critical"
    SecretsAtRisk            = "critical"
  }

  # The decisions for each alarm: whether it is made, its severity, and the topic that it publishes to.
  changes = { for name in keys(local.severities) : name => contains(keys(var.alarms), name) ? var.alarms[name] : { enabled = true, severity = null, topic_arn = null } }
  alarms = { for name, severity in local.severities : name => {
    enabled  = local.changes[name].enabled
    severity = coalesce(local.changes[name].severity, severity)
    actions  = [local.changes[name].topic_arn != null ? local.changes[name].topic_arn : local.topics[coalesce(local.changes[name].severity, severity)]]
  } }

  tags = merge(var.tags, {
    Application = var.application
    Environment = var.environment
    Purpose     = "alarms"
  })
}

module "policies" {
  source = "../policy-docs"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id
  topic_arn  = local.topic_arn
}

# A key of its own: CloudWatch may not use AWS's own key for SNS, and its alarms would be lost silently.
resource "aws_kms_key" "topic" {
  count = local.with_topic ? 1 : 0

  description             = "Seals the alarms of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_in_days
  policy                  = module.policies.topic_key_policy
  tags                    = local.tags
}

resource "aws_kms_alias" "topic" {
  count = local.with_topic ? 1 : 0

  name          = "alias/${local.topic}"
  target_key_id = aws_kms_key.topic[0].key_id
}

resource "aws_sns_topic" "alarms" {
  count = local.with_topic ? 1 : 0

  name              = local.topic
  kms_master_key_id = aws_kms_key.topic[0].arn
  tags              = local.tags
}

resource "aws_sns_topic_policy" "alarms" {
  count = local.with_topic ? 1 : 0

  arn    = aws_sns_topic.alarms[0].arn
  policy = module.policies.topic_policy
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each = { for name, subscription in var.subscriptions : name => subscription if local.with_topic }

  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = each.value.protocol
  endpoint  = each.value.endpoint
}

# These had no count before 0.2.
moved {
  from = aws_kms_key.topic
  to   = aws_kms_key.topic[0]
}

moved {
  from = aws_kms_alias.topic
  to   = aws_kms_alias.topic[0]
}

moved {
  from = aws_sns_topic.alarms
  to   = aws_sns_topic.alarms[0]
}

moved {
  from = aws_sns_topic_policy.alarms
  to   = aws_sns_topic_policy.alarms[0]
}
