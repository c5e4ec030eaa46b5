# Timing of every crossing of the shell, bound to the entities that make it, wherever they are instantiated.
#
# A crossing is a level through saf_sync (one bit, or gray code of which one bit changes at a time), a word in a RAM of two
# clocks whose address crosses so, or an answer that stands still while the bit that announces it crosses. What matters for
# gray code is that its bits arrive within one period of the faster clock; therefore set_max_skew and set_max_delay instead
# of a plain false path.

# to the first flop: no edge relation, but at most one period of the fastest clock here (EMIF 266 MHz)
foreach inst [get_entity_instances -nowarn saf_sync] {
  set meta [get_registers -nowarn "${inst}|meta_q*"]
  if {[get_collection_size $meta] > 0} {
    set_false_path -hold -to $meta
    set_max_delay -to $meta 100
    set_net_delay -to $meta -max -get_value_from_clock_period dst_clock_period -value_multiplier 0.8
    set_max_skew -to $meta -get_skew_value_from_clock_period min_clock_period -skew_value_multiplier 0.8
  }
}

# a word is written at least two edges of the reader's clock before its address arrives there
proc saf_constrain_ram {inst} {
  set out [get_registers -nowarn "${inst}|rd_data_o*"]
  set ram [get_registers -nowarn "${inst}|mem*"]
  if {[get_collection_size $out] > 0 && [get_collection_size $ram] > 0} {
    set_max_delay -from $ram -to $out 100
    set_false_path -hold -from $ram -to $out
    set_net_delay -from $ram -to $out -max -get_value_from_clock_period dst_clock_period -value_multiplier 0.8
  }
}
foreach inst [get_entity_instances -nowarn saf_ram_2clk] { saf_constrain_ram $inst }
foreach inst [get_entity_instances -nowarn saf_ram_2clk_narrow] { saf_constrain_ram $inst }
foreach inst [get_entity_instances -nowarn saf_ram_2clk_put] { saf_constrain_ram $inst }

# an answer stands still from two clocks before the bit that announces it arrives: one period of the core clock is enough
proc saf_constrain_answer {answer} {
  if {[get_collection_size $answer] > 0} {
    set others [remove_from_collection [all_registers] $answer]
    set_max_delay -from $answer -to $others 6.4
    set_false_path -hold -from $answer -to $others
  }
}
# the PR controller's verdict
foreach inst [get_entity_instances -nowarn saf_pr_feed] {
  saf_constrain_answer [get_registers -nowarn "${inst}|status_q*"]
}
# what was read from a kernel
foreach inst [get_entity_instances -nowarn saf_kernel_bus] {
  saf_constrain_answer [get_registers -nowarn "${inst}|data_q*"]
  saf_constrain_answer [get_registers -nowarn "${inst}|error_q*"]
}

# asserted without a clock; the release is what the two flops are for
foreach inst [get_entity_instances -nowarn saf_reset_sync] {
  set clear [get_pins -nowarn -compatibility_mode "${inst}|released_q*|clrn"]
  if {[get_collection_size $clear] > 0} { set_false_path -to $clear }
}

# the rings run free, and the first flop behind them is meant to be metastable
foreach inst [get_entity_instances -nowarn saf_385a_entropy] {
  set meta [get_registers -nowarn "${inst}|meta_q*"]
  if {[get_collection_size $meta] > 0} { set_false_path -to $meta }
}
