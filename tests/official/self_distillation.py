"""Without a trained teacher: USKD, MCMI, DLB, CS-KD, Tf-KD, GPD and others."""

from __future__ import annotations

from official.cases import waiting

waiting('to be written', 'uskd_hard_labels', 'uskd_k100_cifar_weights', 'uskd_soft_labels')
waiting('to be written', 'mcmi_cifar', 'mcmi_k40', 'mcmi_sharp_centroids')
waiting('to be written', 'mcmi_centroids')
waiting('to be written', 'progressive_target_epoch0', 'progressive_target_epoch120')
waiting('to be written', 'progressive_loss_epoch120', 'progressive_loss_last_k100')
waiting('to be written', 'dlb_tau3', 'dlb_tau3_k100')
waiting('to be written', 'cskd_tau4', 'cskd_k100_w3')
waiting('to be written', 'tfkd_reg_k100', 'tfkd_reg_alpha95', 'tfkd_reg_multiplier1')
waiting('to be written', 'stochastic_self_kd')
waiting('to be written', 'gpd_soft_ce', 'gpd_smoothed_ce')
