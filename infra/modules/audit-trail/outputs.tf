output "trail_arn" {
  description = "The trail's ARN."
  value       = aws_cloudtrail.this.arn
}

output "trail_name" {
  description = "The trail's name."
  value       = local.trail
}

output "log_group_name" {
  description = "The log group that holds the trail's events."
  value       = aws_cloudwatch_log_group.trail.name
}

output "metric_namespace" {
  description = "The CloudWatch namespace that the metric filters count in, for the modules alarms and secrets."
  value       = local.metric_namespace

  depends_on = [aws_cloudwatch_log_metric_filter.this]
}

output "metrics" {
  description = "For each metric, the pattern that feeds it."
  value       = { for name, filter in module.patterns.filters : name => filter.pattern }
}

output "key_arn" {
  description = "ARN of the key that seals the trail and its log group."
  value       = aws_kms_key.trail.arn
}
