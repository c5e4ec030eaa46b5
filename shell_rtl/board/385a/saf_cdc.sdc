# Timing of every crossing of the shell, bound to the entities that make it: SDC_ENTITY_FILE in saf_shell.qip gives this
# file to each instance of the entity it names, and `get_current_instance` says which one is meant.
#
# A crossing is either a level through saf_sync (one bit, or gray code of which one bit changes at a time) or a word in a
# RAM whose address crosses so. What matters for gray code is that its bits arrive within one period of the faster clock;
# therefore set_max_skew and set_max_delay instead of a plain false path.

proc saf_instance_paths {pattern} {
  set inst [get_current_instance]
  if {$inst eq ""} { return $pattern }
  return "${inst}|${pattern}"
}

if {[get_entity_name] eq "saf_sync"} {
  set meta [get_registers -nowarn [saf_instance_paths "meta_q*"]]
  if {[get_collection_size $meta] > 0} {
    # from wherever it comes: no edge relation, but at most one period of the fastest clock here (emif 266 MHz)
    set_false_path -hold -to $meta
    set_max_delay -to $meta 100
    set_net_delay -to $meta -max -get_value_from_clock_period dst_clock_period -value_multiplier 0.8
    set_max_skew -to $meta -get_skew_value_from_clock_period min_clock_period -skew_value_multiplier 0.8
  }
}

if {[get_entity_name] eq "saf_ram_2clk"} {
  # the word was written at least two edges of the reader's clock before its address arrives there
  set out [get_registers -nowarn [saf_instance_paths "rd_data_o*"]]
  set ram [get_registers -nowarn [saf_instance_paths "mem*"]]
  if {[get_collection_size $out] > 0 && [get_collection_size $ram] > 0} {
    set_max_delay -from $ram -to $out 100
    set_false_path -hold -from $ram -to $out
    set_net_delay -from $ram -to $out -max -get_value_from_clock_period dst_clock_period -value_multiplier 0.8
  }
}

if {[get_entity_name] eq "saf_reset_sync"} {
  # asserted without a clock; the release is what the two flops are for
  set clear [get_pins -nowarn -compatibility_mode [saf_instance_paths "released_q*|clrn"]]
  if {[get_collection_size $clear] > 0} { set_false_path -to $clear }
}

if {[get_entity_name] eq "saf_385a_entropy"} {
  # the rings run free, and the first flop behind them is meant to be metastable
  set meta [get_registers -nowarn [saf_instance_paths "meta_q*"]]
  if {[get_collection_size $meta] > 0} { set_false_path -to $meta }
}
