"""How good pictures are: PSNR, SSIM, LPIPS, and the sheets and curves that show it."""
