output "plan_role_arn" {
  description = "The role of the plan job."
  value       = aws_iam_role.this["plan"].arn
}

output "apply_role_arn" {
  description = "The role of the apply job."
  value       = aws_iam_role.this["apply"].arn
}

output "backend" {
  description = "The settings of the S3 backend, as backend.tf of the other examples needs them."
  value       = { bucket = aws_s3_bucket.state.id, region = var.region, use_lockfile = true, encrypt = true }
}
