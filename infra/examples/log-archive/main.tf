# The bucket for the audit trail's logs, in an account of its own: who breaks into the application's account cannot delete them.
module "bucket" {
  source = "../../modules/log-bucket"

  bucket_name      = var.bucket_name
  trail_name       = var.trail_name
  trail_account_id = var.trail_account_id
  trail_region     = var.region
  retention_days   = var.retention_days
  object_lock_days = var.object_lock_days
}
