output "bucket_name" {
  description = "The bucket's name, for the audit-trail module. It is known only once the trail may write."
  value       = aws_s3_bucket.this.id

  depends_on = [aws_s3_bucket_policy.this]
}

output "bucket_arn" {
  description = "The bucket's ARN."
  value       = aws_s3_bucket.this.arn
}
