output "bucket_name" {
  description = "The bucket's name, for log_bucket_name of examples/complete."
  value       = module.bucket.bucket_name
}
