-- What the tables above mean; tools/protogen puts this behind them (tools/protogen/dissector.lua).

local saf = Proto("saf", TITLE)
local paper = Proto("saf_paper", TITLE .. ", profile paper")

local function by_value(list)
    local out = {}
    for _, item in ipairs(list) do out[item[2]] = item[1] end
    return out
end

local ethertype_names, opcode_names = by_value(ETHERTYPES), {}
for code, op in pairs(OPCODES) do opcode_names[code] = op.name end
local enum_names = {}
for name, list in pairs(ENUMS) do enum_names[name] = by_value(list) end

-- Fields -------------------------------------------------------------------------------------------------------

local fields = {}      -- filter name → ProtoField
local saf_fields, paper_fields = {}, {}

local function new_field(filter, f)
    local label = f.name
    if f.kind == "struct" then return ProtoField.none(filter, label, f.doc) end
    if f.kind == "mac" then return ProtoField.ether(filter, label, f.doc) end
    if f.kind == "text" then return ProtoField.string(filter, label, base.ASCII, f.doc) end
    if f.kind == "bytes" or f.kind == "tail" then return ProtoField.bytes(filter, label, base.NONE, f.doc) end
    local make = ({ u8 = ProtoField.uint8, u16 = ProtoField.uint16, u32 = ProtoField.uint32,
                    u64 = ProtoField.uint64 })[f.kind]
    local shown = f.hex and base.HEX or base.DEC
    return make(filter, label, shown, f.enum and enum_names[f.enum] or nil, nil, f.doc)
end

local function add_field(list, filter, field)
    fields[filter] = field
    list[#list + 1] = field
end

local function declare(list, prefix, structs)
    for name, struct in pairs(structs) do
        add_field(list, prefix .. name, ProtoField.none(prefix .. name, name, struct.doc))
        for _, f in ipairs(struct.fields) do
            local filter = prefix .. name .. "." .. f.name
            add_field(list, filter, new_field(filter, f))
        end
    end
end

add_field(saf_fields, "saf.version", ProtoField.uint8("saf.version", "version", base.DEC, nil, 0xf0))
add_field(saf_fields, "saf.suite", ProtoField.uint8("saf.suite", "suite", base.DEC, by_value(SUITES), 0x0f))
add_field(saf_fields, "saf.opcode", ProtoField.uint8("saf.opcode", "opcode", base.HEX, opcode_names))
add_field(saf_fields, "saf.ethertype",
          ProtoField.uint16("saf.ethertype", "EtherType, as in the paper", base.HEX, ethertype_names))
for _, f in ipairs(HEADER) do
    add_field(saf_fields, "saf." .. f.name, new_field("saf." .. f.name, f))
end
for _, flag in ipairs(FLAGS) do
    local filter = "saf.flags." .. flag[1]
    add_field(saf_fields, filter, ProtoField.bool(filter, flag[1], 16, nil, flag[2], flag[3]))
end
add_field(saf_fields, "saf.padding", ProtoField.bytes("saf.padding", "padding to a 64-bit beat"))
add_field(saf_fields, "saf.tag", ProtoField.bytes("saf.tag", "tag"))
add_field(saf_fields, "saf.group.body", ProtoField.none("saf.group.body", "body, without each member's role_epoch"))
declare(saf_fields, "saf.", STRUCTS)
declare(paper_fields, "saf_paper.", PAPER_STRUCTS)
saf.fields, paper.fields = saf_fields, paper_fields

local malformed = ProtoExpert.new("saf.malformed", "a receiver drops this frame", expert.group.MALFORMED,
                                  expert.severity.ERROR)
saf.experts = { malformed }

-- Preferences --------------------------------------------------------------------------------------------------

local default_types = {}
for i, item in ipairs(ETHERTYPES) do default_types[i] = string.format("%04x", item[2]) end
saf.prefs.ethertypes = Pref.string("EtherTypes", table.concat(default_types, " "),
    "Hexadecimal, in the order discovery, image, image_answer, input, input_answer, control, result")
saf.prefs.paper = Pref.bool("Profile paper", false, "Frames carry the paper's plain payloads, without a header")

-- Dissection ---------------------------------------------------------------------------------------------------

-- All offsets below count from the byte behind the EtherType: frame byte 14.
local HEADER_REST = HEADER_BYTES - 14

local function add_struct(tree, prefix, structs, name, tvb)
    local size = structs[name].size
    for _, f in ipairs(structs[name].fields) do
        local filter = prefix .. name .. "." .. f.name
        if f.kind == "struct" then
            for i = 0, f.count - 1 do
                local part = tvb(f.offset + i * f.size, f.size)
                local item = tree:add(fields[filter], part)
                item:append_text(string.format("[%d]", i))
                add_struct(item, prefix, structs, f.of, part)
            end
        elseif f.kind == "tail" then
            if tvb:len() > size then tree:add(fields[filter], tvb(size)) end
        elseif f.kind == "text" then
            local text = tvb(f.offset, f.size):raw()
            local stop = text:find("\0", 1, true)
            text = (stop and text:sub(1, stop - 1) or text):gsub("[^\32-\126]", ".")
            tree:add(fields[filter], tvb(f.offset, f.size), text)
        else
            tree:add(fields[filter], tvb(f.offset, f.size))
        end
    end
end

local function padded(length) return length + (8 - length % 8) % 8 end

local function add_group(tree, tvb)
    add_struct(tree, "saf.", STRUCTS, "group", tvb(0, STRUCTS.group.size))
    local op, count, body_bytes = OPCODES[tvb(0, 1):uint()], tvb(1, 1):uint(), tvb(2, 2):uint()
    local start, size = STRUCTS.group.size, STRUCTS.group_member.size
    local members = start + padded(body_bytes)
    if not op or members + count * size > tvb:len() or body_bytes < STRUCTS[op.payload].size then
        tree:add_proto_expert_info(malformed, "GROUP does not hold what it announces")
        if tvb:len() > start then tree:add(fields["saf.group.content"], tvb(start)) end
        return
    end
    local body = tree:add(fields["saf.group.body"], tvb(start, body_bytes))
    body:append_text(" of " .. op.name)
    add_struct(body, "saf.", STRUCTS, op.payload, tvb(start, body_bytes):tvb())
    for i = 0, count - 1 do
        local part = tvb(members + i * size, size)
        add_struct(tree:add(fields["saf.group_member"], part), "saf.", STRUCTS, "group_member", part)
    end
end

-- The checks of a receiver that need no state, in its order; nil when the frame passes.
local function drop_reason(tvb, ethertype)
    local size = tvb:reported_length_remaining()
    if size < HEADER_REST then return "truncated" end
    local first, code, length = tvb(0, 1):uint(), tvb(1, 1):uint(), tvb(6, 2):uint()
    if math.floor(first / 16) ~= VERSION then return "bad_version" end
    local op = OPCODES[code]
    if op and op.name == "data" then
        if first % 16 ~= 0 then return "bad_suite" end
        if not op.on[ethertype] then return "wrong_ethertype" end
        if HEADER_REST + length > size then return "truncated" end
        return nil
    end
    if not by_value(SUITES)[first % 16] then return "bad_suite" end
    if not op then return "unknown_opcode" end
    if not op.on[ethertype] then return "wrong_ethertype" end
    local struct = STRUCTS[op.payload]
    if length < struct.size or (length ~= struct.size and not struct.tail) then return "lying_length" end
    local tag = (first % 16 ~= 0 and op.tagged) and TAG_BYTES or 0
    local wanted = HEADER_REST + padded(length) + tag
    if size < wanted then return "truncated" end
    if size > wanted and size > MIN_FRAME_BYTES - 14 then return "lying_length" end
    return nil
end

local function add_header(tree, tvb, ethertype)
    tree:add(fields["saf.ethertype"], ethertype):set_generated()
    tree:add(fields["saf.version"], tvb(0, 1))
    tree:add(fields["saf.suite"], tvb(0, 1))
    tree:add(fields["saf.opcode"], tvb(1, 1))
    for _, f in ipairs(HEADER) do
        local item = tree:add(fields["saf." .. f.name], tvb(f.offset, f.size))
        if f.name == "flags" then
            for _, flag in ipairs(FLAGS) do item:add(fields["saf.flags." .. flag[1]], tvb(f.offset, f.size)) end
        end
    end
end

local function dissect_saf(tvb, pinfo, root, ethertype)
    pinfo.cols.protocol = "SAF"
    local tree = root:add(saf, tvb())
    local reason = drop_reason(tvb, ethertype)
    if tvb:len() >= HEADER_REST then add_header(tree, tvb, ethertype) end
    if reason then
        tree:add_proto_expert_info(malformed, "dropped: " .. reason)
        pinfo.cols.info = "malformed: " .. reason
        return
    end
    local op, length = OPCODES[tvb(1, 1):uint()], tvb(6, 2):uint()
    local info = string.format("%s session=%08x object=%u index=%u", op.name:upper(), tvb(2, 4):uint(),
                               tvb(10, 4):uint(), tvb(14, 4):uint())
    pinfo.cols.info = info
    tree:append_text(", " .. op.name:upper())
    if tvb:len() < HEADER_REST + length then return end  -- the capture cut the frame
    if length > 0 then
        local range = tvb(HEADER_REST, length)
        local sub = tree:add(fields["saf." .. op.payload], range)
        if op.name == "group" then
            add_group(sub, range:tvb())
        else
            add_struct(sub, "saf.", STRUCTS, op.payload, range:tvb())
        end
    end
    if op.name == "data" then return end
    local at, beat = HEADER_REST + length, HEADER_REST + padded(length)
    if beat > at and tvb:len() >= beat then tree:add(fields["saf.padding"], tvb(at, beat - at)) end
    if op.tagged and tvb(0, 1):uint() % 16 ~= 0 and tvb:len() >= beat + TAG_BYTES then
        tree:add(fields["saf.tag"], tvb(beat, TAG_BYTES))
    end
end

local function dissect_paper(tvb, pinfo, root, ethertype)
    pinfo.cols.protocol = "SAF paper"
    local layout = PAPER[ethertype]
    pinfo.cols.info = layout.name
    local tree = root:add(paper, tvb())
    tree:append_text(", " .. layout.name)
    if tvb:len() < PAPER_STRUCTS[layout.struct].size then
        tree:add_proto_expert_info(malformed, "dropped: truncated")
        return
    end
    local sub = tree:add(fields["saf_paper." .. layout.struct], tvb())
    add_struct(sub, "saf_paper.", PAPER_STRUCTS, layout.struct, tvb)
end

local canonical = {}   -- EtherType on this network → the paper's

function saf.dissector(tvb, pinfo, root)
    local ethertype = canonical[pinfo.match_uint]
    if not ethertype then return 0 end
    if saf.prefs.paper then
        dissect_paper(tvb, pinfo, root, ethertype)
    else
        dissect_saf(tvb, pinfo, root, ethertype)
    end
    return tvb:len()
end

local ethertype_table = DissectorTable.get("ethertype")

local function register()
    for value in pairs(canonical) do ethertype_table:remove(value, saf) end
    canonical = {}
    local i = 0
    for text in saf.prefs.ethertypes:gmatch("[%xx]+") do
        i = i + 1
        local value = tonumber((text:gsub("^0x", "")), 16)
        if ETHERTYPES[i] and value then
            canonical[value] = ETHERTYPES[i][2]
            ethertype_table:add(value, saf)
        end
    end
end

saf.prefs_changed = register
register()
