"""Objective measures of denoised speech against the clean reference."""
