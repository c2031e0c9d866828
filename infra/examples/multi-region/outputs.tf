output "environment" {
  description = "The environment variables of the programs. KMS_KEY_ID names the key in both Regions, the nearest first."
  value       = module.access.environment
}
