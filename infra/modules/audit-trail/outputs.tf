output "trail_arn" {
  description = "The trail's ARN; null with with_trail = false."
  value       = one(aws_cloudtrail.this[*].arn)
}

output "trail_name" {
  description = "The trail's name."
  value       = local.trail
}

output "log_group_name" {
  description = "The log group that holds the trail's events."
  value       = local.log_group
}

output "metric_namespace" {
  description = "The CloudWatch namespace that the metric filters count in, for the modules alarms and secrets."
  value       = local.metric_namespace

  depends_on = [aws_cloudwatch_log_metric_filter.this]
}

output "metrics" {
  description = "For each metric, the patterns that feed it."
  value       = { for name in keys(module.patterns.metrics) : name => [for filter in values(module.patterns.filters) : filter.pattern if filter.metric == name] }
}

output "key_arn" {
  description = "ARN of the key that seals the trail and its log group; null with with_trail = false."
  value       = one(aws_kms_key.trail[*].arn)
}
