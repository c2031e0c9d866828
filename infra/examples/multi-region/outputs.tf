output "environment" {
  description = "The environment variables of the programs. They use the one Region; a service can compose both with kms_provider::Regions."
  value       = module.access.environment
}
