"""What whoever runs the product needs: health, metrics, new keys, data of an earlier system, made-up callbacks."""
